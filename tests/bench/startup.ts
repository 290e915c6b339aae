/** How soon the program serves, and how large it is: from source, and as the executable, which is made anew. @module */

import { COMPILED, EXECUTABLE, RELAY, ROOT, SERVER, start } from "./program.ts";
import { atMost, median, type Row } from "./table.ts";

/** How long making the executable may take, in milliseconds. */
const COMPILE_MS = 60_000;

/** Measures so many starts of each. */
export async function startUp(starts: number, say: (text: string) => void): Promise<Row[]> {
  const excess = await makeExecutable(say);
  const times = { server: [] as number[], relay: [] as number[], compiled: [] as number[] };
  for (let i = 0; i < starts; i++) {
    times.server.push(await startMs(SERVER));
    times.relay.push(await startMs(RELAY));
    if (excess !== undefined) times.compiled.push(await startMs(COMPILED));
  }
  const target = atMost(300, "ms");
  const rows: Row[] = [{
    figure: "start to the first answer, from source, ms",
    server: median(times.server),
    relay: median(times.relay),
    target,
  }];
  if (excess === undefined) return rows;
  const { size } = await Deno.stat(EXECUTABLE);
  return [
    ...rows,
    { figure: "start to the first answer, executable, ms", server: median(times.compiled), target },
    { figure: "size of the executable, MB", server: size / 1e6, digits: 1 },
    { figure: "- above an empty program, MB", server: excess / 1e6, digits: 2, target: atMost(1.5, "MB") },
  ];
}

/** Compiles as `deno task compile --measure` does; how many bytes it has above an empty program, if it could be made. */
async function makeExecutable(say: (text: string) => void): Promise<number | undefined> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "compile", "--measure"],
    cwd: ROOT,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1" },
    signal: AbortSignal.timeout(COMPILE_MS),
  }).output();
  const text = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)).join("\n");
  const excess = /^(\d+) bytes above an empty program/m.exec(text)?.[1];
  if (success && excess !== undefined) return Number(excess);
  say(`the executable could not be made: ${text.trim().split("\n").at(-1)}`);
  return undefined;
}

async function startMs(what: typeof SERVER): Promise<number> {
  await using program = await start(what);
  return program.startMs;
}
