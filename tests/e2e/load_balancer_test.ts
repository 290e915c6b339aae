/**
 * The load balancers of the page "Beyond one machine", as they are written there, in front of two servers. Ignored
 * without nginx or Caddy.
 */

import { assert, assertEquals } from "@std/assert";
import { createGate, reusableAddress } from "../support/harness/data_dir_fixture.ts";
import { codeBlocks, readPage } from "../support/harness/docs.ts";
import {
  readAnswer,
  replyOf,
  script,
  type ServerProcess,
  startServer,
  until,
} from "../support/harness/server_process.ts";

const PAGE = readPage("beyond-one-machine");
const [MAPS, PROXY_PASS] = codeBlocks(PAGE, "nginx").map(({ text }) => text);
const CADDY_SITE = codeBlocks(PAGE, "text").find(({ text }) => text.includes("lb_policy"))!.text;
const KEY = "the-key-of-both-servers";

interface Balancer {
  readonly programs: readonly string[];
  readonly args: (folder: string) => string[];
  /** The configuration of the page, with its site at an address. */
  readonly config: (address: string) => string;
}
const BALANCERS: Readonly<Record<string, Balancer>> = {
  nginx: {
    programs: ["nginx", "/usr/sbin/nginx"],
    args: (folder) => ["-p", folder, "-c", `${folder}/config`, "-e", "stderr"],
    config: (address) => {
      const site = codeBlocks(readPage("proxy"), "nginx")[0]!.text
        .replace("listen 443 ssl;", `listen ${address};`)
        .replace(/^ *ssl_.*\n/gm, "")
        .replace("proxy_pass http://127.0.0.1:8080;", PROXY_PASS!);
      const folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) =>
        `${name}_temp_path ${name};`
      );
      return `daemon off; pid pid; events {} http { access_log off; ${folders.join(" ")}\n${MAPS}${site}}`;
    },
  },
  caddy: {
    programs: ["caddy"],
    args: (folder) => ["run", "--adapter", "caddyfile", "--config", `${folder}/config`],
    config: (address) =>
      `{\n admin off\n auto_https off\n}\n${CADDY_SITE.replace("vtuber.example.com", `http://${address}`)}`,
  },
};

/** Returns the first of these programs that is installed. */
function find(programs: readonly string[]): string | undefined {
  return programs.find((program) => {
    try {
      return new Deno.Command(program, { args: ["-h"], stdout: "null", stderr: "null" }).outputSync().success;
    } catch {
      return false;
    }
  });
}

/** Starts a load balancer, and waits until it passes requests on. */
async function startBalancer(program: string, { args, config }: Balancer, servers: readonly ServerProcess[]) {
  const folder = await Deno.makeTempDir();
  const address = reusableAddress();
  const text = servers.reduce(
    (text, { url }, i) => text.replace(`10.0.0.1${i + 1}:8080`, new URL(url).host),
    config(address),
  );
  await Deno.writeTextFile(`${folder}/config`, text);
  const child = new Deno.Command(program, {
    args: args(folder),
    env: { XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const url = `http://${address}`;
  await until(() =>
    fetch(`${url}/readyz`).then((response) => response.text().then(() => response.ok), () => false)
  );
  return {
    url,
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await child.status;
      await Deno.remove(folder, { recursive: true });
    },
  };
}

/** A message of a chat. */
interface Message {
  readonly role: "user" | "assistant";
  readonly content: string;
}
const user = (content: string): Message => ({ role: "user", content });
const hasPrompt = async (server: ServerProcess, text: string) =>
  (await server.prompts()).some((prompt) => prompt.text.includes(text));

for (const [name, balancer] of Object.entries(BALANCERS)) {
  const program = find(balancer.programs);
  Deno.test({
    name:
      `beyond-one-machine.md, ${name}: a conversation stays on its server, and goes on if that one is killed`,
    ignore: program === undefined,
    async fn() {
      await using gate = await createGate();
      const env = { VTUBER_AUTH_KEY: KEY };
      await using first = await startServer({ env });
      await using second = await startServer({ env });
      for (const server of [first, second]) {
        await until(async () => (await server.get("/readyz")).status === "ready");
      }
      await using proxy = await startBalancer(program!, balancer, [first, second]);
      const chat = (messages: readonly Message[], conversation?: string, stream = true) =>
        fetch(`${proxy.url}/v1/chat/completions`, {
          method: "POST",
          headers: {
            "content-type": "application/json",
            authorization: `Bearer ${KEY}`,
            ...conversation === undefined ? {} : { "x-session-id": conversation },
          },
          body: JSON.stringify({ messages, stream }),
        });
      let sent = 0;
      /** Sends a message, and finds the server that got it. */
      const serverOf = async (conversation?: string): Promise<ServerProcess> => {
        const mark = `Message ${++sent}.`;
        const { finish } = await replyOf(chat([user(`${mark} ${script({ text: "ok" })}`)], conversation));
        assertEquals(finish, "stop");
        return await hasPrompt(first, mark) ? first : second;
      };

      const ofKey = await serverOf();
      for (let times = 0; times < 5; times++) assertEquals(await serverOf(), ofKey);
      const onFirst: string[] = [];
      const onSecond: string[] = [];
      for (let i = 0; onFirst.length < 2 || onSecond.length < 2; i++) {
        assert(i < 100, "all conversations go to the same server");
        const server = await serverOf(`talk-${i}`);
        (server === first ? onFirst : onSecond).push(`talk-${i}`);
      }
      for (const conversation of onFirst) assertEquals(await serverOf(conversation), first);
      for (const conversation of onSecond) assertEquals(await serverOf(conversation), second);

      const [conversation, other] = onFirst;
      const long = user(`Tell me. ${script({ text: "Once upon " }, gate.step, { text: "a time." })}`);
      const history = [user("Hello!"), { role: "assistant", content: "Hello, my friend." }, long] as const;
      const reader = (await chat(history, conversation)).body!.pipeThrough(new TextDecoderStream())
        .getReader();
      let stream = "";
      while (!stream.includes("Once upon")) stream += (await reader.read()).value;
      const unstreamed = chat([user(`Work. ${script({ hang: true })}`)], other, false);
      await until(() => hasPrompt(first, "Work."));
      await first.end("SIGKILL");
      // Some versions of Caddy end a stream that was cut as if it were complete.
      const rest = () => reader.read().catch(() => ({ done: true, value: undefined }));
      for (let next = await rest(); !next.done; next = await rest()) stream += next.value;
      const cut = readAnswer(stream);
      assertEquals([cut.text, cut.finish, cut.done], ["Once upon ", undefined, false]);
      const failed = await unstreamed;
      await failed.body?.cancel();
      assertEquals([failed.status, await hasPrompt(second, "Work.")], [502, false], "it is not sent twice");

      await gate.open();
      const again = await replyOf(chat(history, conversation));
      assertEquals([again.text, again.finish], ["Once upon a time.\n", "stop"]);
      const { text } = (await second.prompts()).at(-1)!;
      assertEquals(
        text,
        `<user>\nHello!\n</user>\n\n<assistant>\nHello, my friend.\n</assistant>\n\n${long.content}`,
      );
      assertEquals(await serverOf(other), second);
    },
  });
}
