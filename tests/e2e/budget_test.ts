/** The daily budget of a key: with many requests at once, over SIGKILL, and without its file. */

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { sha256 } from "../../lib/http/access.ts";
import { readEntries } from "../support/agents/agent_io.ts";
import { createDataDir, type DataDir } from "../support/harness/data_dir_fixture.ts";
import { Random } from "../support/harness/random.ts";
import {
  countMethod,
  promptsOf,
  type ServerOptions,
  type ServerProcess,
  startServer,
  until,
} from "../support/harness/server_process.ts";

const KEY = "the-key-of-the-chat-bot";
const HEADERS = { authorization: `Bearer ${KEY}` };

/** Starts a server in a directory, with a key that has a budget. */
async function start(
  { path }: DataDir,
  turnsPerDay: number,
  { env, ...options }: ServerOptions = {},
): Promise<ServerProcess> {
  const config = `${path}/config.toml`;
  await Deno.writeTextFile(
    config,
    `[keys.bot]\nkey_sha256 = "${sha256(KEY)}"\nscopes = ["chat"]\nturns_per_day = ${turnsPerDay}\n`,
  );
  return await startServer({
    dataDir: path,
    args: ["--config", config],
    env: { VTUBER_MAX_IN_FLIGHT: "500", VTUBER_SESSIONS: "stateless", ...env },
    ...options,
  });
}

/** Sends a chat request, and reads its response. Returns the code of its error; `ok` without one. */
async function send(server: ServerProcess, content: string, onHead?: () => void): Promise<string> {
  const response = await server.chat(content, {}, { headers: HEADERS });
  onHead?.();
  const text = await response.text();
  return response.ok ? "ok" : JSON.parse(text).error.code;
}

Deno.test("budget: of 200 requests at once with turns_per_day = 50, exactly 50 reach the agent", async () => {
  await using dataDir = await createDataDir();
  await using server = await start(dataDir, 50);
  const codes = await Promise.all(
    Array.from({ length: 200 }, (_, number) => send(server, `Question ${number}`)),
  );
  const count = (code: string) => codes.filter((each) => each === code).length;
  assertEquals([count("ok"), count("insufficient_quota")], [50, 150]);
  assertEquals((await server.prompts()).length, 50);
});

/** Clients that send requests one after the other. */
const CLIENTS = 6;
const BUDGET = 60;

/**
 * Sends requests until the budget is spent, or kills the server at the nth event: a request is sent, or its head or its
 * end has come. Returns whether the budget is spent, and how many replies were complete.
 */
async function spendUntilKilled(server: ServerProcess, killAt: number) {
  let events = 0;
  let complete = 0;
  const onEvent = () => {
    if (++events === killAt) server.signal("SIGKILL");
  };
  const client = async (number: number) => {
    for (let turn = 0;; turn++) {
      onEvent();
      const code = await send(server, `Question ${turn} of ${number}`, onEvent);
      onEvent();
      if (code !== "ok") return code;
      complete++;
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: CLIENTS }, (_, number) => client(number)));
  const codes = ends.flatMap((end) => end.status === "fulfilled" ? [end.value] : []);
  assertEquals(codes.filter((code) => code !== "insufficient_quota"), []);
  return { isSpent: codes.length > 0, complete };
}

Deno.test("budget: whenever the server is killed, no prompt is lost from the count, and none is beyond the budget", async () => {
  await using dataDir = await createDataDir();
  const random = new Random(20);
  const received = async () => readEntries(await Deno.readTextFile(`${dataDir.path}/agent.jsonl`));
  let complete = 0;
  let kills = 0;
  for (let isSpent = false; !isSpent; kills++) {
    await using server = await start(dataDir, BUDGET);
    // The last round ends by itself.
    const spent = await spendUntilKilled(server, kills < 5 ? 1 + random.below(40) : Infinity);
    ({ isSpent } = spent);
    complete += spent.complete;
    await server.end("SIGKILL");
    // The agents still read what was sent to them before.
    const messages = await until(
      received,
      (all) => all.filter(({ eof }) => eof).length >= countMethod(all, "initialize"),
    );
    const prompts = promptsOf(messages).length;
    const counted = readCount(dataDir);
    assert(
      complete <= prompts && prompts <= counted && counted <= BUDGET,
      `${complete} ${prompts} ${counted}`,
    );
    assert(counted - prompts <= CLIENTS * (kills + 1), `${counted - prompts} counted in vain`);
    if (isSpent) assertEquals(counted, BUDGET);
  }
  assert(kills > 1);
});

function readCount({ path }: DataDir): number {
  using database = new DatabaseSync(`${path}/data/conversations.db`);
  const row = database.prepare("SELECT count FROM turn_counts WHERE key = 'keys.bot'").get();
  return Number(row?.count ?? 0);
}

Deno.test("budget: a folder that another server uses, or that holds no file, refuses the start", async () => {
  await using dataDir = await createDataDir();
  const assertRefused = async (reason: string, env: Record<string, string> = {}) => {
    const { message } = await assertRejects(
      () => start(dataDir, 5, { env }),
      Error,
      "oab-vtuber cannot start",
    );
    for (const part of [reason, "turns_per_day of [keys.bot]"]) assertStringIncludes(message, part);
  };
  await using server = await start(dataDir, 5);
  await assertRefused("another program uses");
  await assertRefused("conversations cannot be stored", { VTUBER_DATA_DIR: `${dataDir.path}/config.toml` });
  assertEquals(await send(server, "Hello"), "ok");
});

Deno.test("budget: a damaged file does not refuse the start, and its warning tells of the lost counts", async () => {
  await using dataDir = await createDataDir();
  await Deno.mkdir(`${dataDir.path}/data`);
  await Deno.writeTextFile(`${dataDir.path}/data/conversations.db`, "Dear diary, ".repeat(1000));
  await using server = await start(dataDir, 1);
  await server.logged("Counts of turns begin at 0");
  assertEquals([await send(server, "One"), await send(server, "Two")], ["ok", "insufficient_quota"]);
});
