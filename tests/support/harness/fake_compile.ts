import type { Command, Outcome, Run } from "../../../scripts/build.ts";

/** What `deno compile` prints where its base executable cannot be downloaded. */
export const UNREACHABLE = "Compile main.js\n" +
  "error: Writing deno compile executable to temporary file 'out'\n\n" +
  "Caused by:\n    0: Setting up base binary.\n    1: error sending request\n\nStack backtrace:\n   0: <unknown>\n";

/** Creates a runner that runs nothing. `failure` returns the output of a command that fails; all others write their file. */
export function fakeRunner(
  failureOf: (command: Command) => string | undefined,
): { run: Run; commands: Command[] } {
  const commands: Command[] = [];
  const run = async (command: Command): Promise<Outcome> => {
    commands.push(command);
    const failure = failureOf(command);
    const output = argument(command, "--output");
    // A failed compile leaves a file behind too.
    if (output !== undefined) await Deno.writeTextFile(output, command.args.at(-1) ?? "");
    return failure === undefined ? { success: true, output: "" } : { success: false, output: failure };
  };
  return { run, commands };
}

/** Returns the value after a flag. */
export function argument({ args }: Command, flag: string): string | undefined {
  const at = args.indexOf(flag);
  return at < 0 ? undefined : args[at + 1];
}

/** Returns the path of the page's files, which are packed beside the bundled program. */
export function archive(commands: readonly Command[]): string {
  return argument(commands[0]!, "--output")!.replace("main.js", "page.json.gz");
}

/** Returns the sorted names in a directory. */
export async function listNames(directory: string): Promise<string[]> {
  const names = await Array.fromAsync(Deno.readDir(directory), ({ name }) => name);
  return names.sort();
}

/** Creates a directory that is removed when it is disposed of. */
export async function tempDirectory(): Promise<AsyncDisposable & { path: string }> {
  const path = await Deno.makeTempDir({ prefix: "oab-vtuber-test-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}
