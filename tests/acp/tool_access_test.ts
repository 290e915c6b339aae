import { assertEquals } from "@std/assert";
import { accessOf, detailOf, mergeAccess, NO_ACCESS, outsidePlaces } from "../../lib/acp/tool_access.ts";

const diff = (path: string | undefined, oldText: string | null, newText: string) => ({
  content: [{ type: "diff", path, oldText, newText }],
});
const content = (content: unknown) => ({ content: [{ type: "content", content }] });
const input = (rawInput: unknown) => ({ rawInput });
const at = (...paths: string[]) => ({ locations: paths.map((path) => ({ path })) });
for (
  const [name, toolCall, detail] of [
    ["nothing", {}, ""],
    ["a command", input({ command: "rm -r x" }), "rm -r x"],
    ["a command in parts", input({ command: ["bash", "-lc", "ls"] }), "bash -lc ls"],
    ["unknown input", input({ to: "me@example.com" }), '{"to":"me@example.com"}'],
    ["empty input", input({}), ""],
    ["input in words", input("rm"), "rm"],
    ["a URL", input({ url: "https://example.com" }), "https://example.com"],
    ["a change", diff("a.txt", "one\ntwo\n", "one\n2\n"), "a.txt\n- one\n- two\n+ one\n+ 2"],
    ["a new file", diff("a.txt", null, "x"), "a.txt\n+ x"],
    [
      "a new file once, although the input has it too",
      { ...diff("a.txt", null, "x\n\ny z\n"), ...input({ file_path: "a.txt", content: "x\n\ny z\n" }) },
      "a.txt\n+ x\n+ \n+ y z",
    ],
    ["an emptied file", diff("a.txt", "x", ""), "a.txt\n- x"],
    ["a change without a path", diff(undefined, "a", "b"), "- a\n+ b"],
    ["a text", content({ type: "text", text: "It deletes x" }), "It deletes x"],
    [
      "everything",
      {
        ...input({ command: "curl", url: "https://example.com" }),
        ...content({ type: "text", text: "gets it" }),
        locations: [{ path: "out" }],
      },
      "curl\ngets it\nout\nhttps://example.com",
    ],
    [
      "a command that another field hides",
      { ...input({ path: "a", script: "reboot" }), ...at("a") },
      "a\nscript: reboot",
    ],
    [
      "a path that another one hides",
      { ...input({ file: "/etc/shadow" }), ...at("a") },
      "a\nfile: /etc/shadow",
    ],
    [
      "a statement that a text hides",
      { ...input({ statement: "DROP TABLE a" }), ...content({ type: "text", text: "Counts rows" }) },
      "Counts rows\nstatement: DROP TABLE a",
    ],
    ["a command in JSON that a path hides", { ...input('{"cmd":"reboot"}'), ...at("a") }, "a\ncmd: reboot"],
    [
      "the address of a link",
      {
        content: [
          ...content({ type: "text", text: "Reads" }).content,
          ...content({ uri: "file:///a" }).content,
        ],
      },
      "Reads\nfile:///a",
    ],
    [
      "a change once",
      { ...input({ file_path: "a.txt", content: "one\r\ntwo" }), ...diff("a.txt", null, "one\ntwo") },
      "a.txt\n+ one\n+ two",
    ],
    [
      "a command without its explanation",
      input({ command: "ls -a", description: "Lists the files", timeout: 5 }),
      "ls -a",
    ],
  ] as const
) {
  Deno.test(`detailOf: shows ${name}`, () => assertEquals(detailOf(toolCall), detail));
}

/** The places that a tool call names, with the working directory and the home directory as words. */
function placesOf(toolCall: Parameters<typeof accessOf>[0]): string {
  const base = Deno.makeTempDirSync();
  try {
    for (const folder of ["cwd/src", "home/sub"]) Deno.mkdirSync(`${base}/${folder}`, { recursive: true });
    Deno.symlinkSync(`${base}/home/sub`, `${base}/cwd/link`);
    Deno.symlinkSync(`${base}/home/sub`, `${base}/cwd/src/out`);
    Deno.symlinkSync(`${base}/nowhere`, `${base}/cwd/dangling`);
    const named = JSON.parse(JSON.stringify(toolCall).replaceAll("BASE", base));
    const places = outsidePlaces(accessOf(named), `${base}/cwd`, `${base}/home`);
    return places?.join(", ").replaceAll(base, "BASE") ?? "unknown";
  } finally {
    Deno.removeSync(base, { recursive: true });
  }
}

for (
  const [name, toolCall, places] of [
    ["nothing", {}, "unknown"],
    ["no path", input({ pattern: "TODO", limit: 5 }), "unknown"],
    ["a slash in words", input({ query: "TCP/IP" }), "unknown"],
    ["a file", at("src/a.ts"), ""],
    ["a file by its whole path", at("BASE/cwd/src/a.ts"), ""],
    ["a new file in a new folder", input({ file_path: "BASE/cwd/new/a.ts" }), ""],
    ["the working directory", input({ path: "." }), ""],
    ["a name by its field", input({ filename: "a.ts" }), ""],
    ["a folder beside it whose name begins alike", at("BASE/cwd2/a"), "folder BASE/cwd2"],
    ["a parent", input({ path: ".." }), "folder BASE"],
    ["a file above", input({ path: "src/../../a" }), "folder BASE"],
    ["a file through a link", at("link/a"), "folder BASE/home/sub"],
    ["a file above the target of a link", at("link/../a"), "folder BASE/home"],
    ["a link to nowhere", at("dangling"), "unknown"],
    ["a file below a link to nowhere", at("dangling/a"), "unknown"],
    ["a way through folders that do not exist", at("x/../../a"), "folder BASE"],
    ["a file at home", input({ path: "~/a" }), "folder BASE/home"],
    ["home", input({ path: "~" }), "folder BASE/home"],
    ["the home of another user", input({ path: "~root/a" }), "unknown"],
    ["a pattern", input({ pattern: "BASE/home/**" }), "folder BASE/home"],
    ["a path deep in the input", input({ queries: [{ in: ["BASE/home/a"] }] }), "folder BASE/home"],
    [
      "one path inside and one outside",
      { ...at("a"), ...input({ path: "BASE/home/a" }) },
      "folder BASE/home",
    ],
    [
      "two folders",
      at("BASE/home/a", "BASE/home/sub/b", "BASE/home/c"),
      "folder BASE/home, folder BASE/home/sub",
    ],
    ["a file URL", input({ uri: "file://BASE/home/a%20b" }), "folder BASE/home"],
    ["a file URL with dots in code", input({ uri: "file://BASE/cwd/%2e%2e/a" }), "folder BASE"],
    [
      "a linked resource",
      content({ type: "resource_link", uri: "file://BASE/home/a", name: "a" }),
      "folder BASE/home",
    ],
    [
      "an embedded resource",
      content({ type: "resource", resource: { uri: "file://BASE/home/a", text: "" } }),
      "folder BASE/home",
    ],
    ["a page", input({ url: "https://user@example.com:8080/a" }), "host example.com:8080"],
    ["a page by another protocol", input({ url: "ftp://example.com/a" }), "host ftp://example.com"],
    ["a malformed URL", input({ url: "https://" }), "unknown"],
    ["a path with a NUL", at("a\0b"), "unknown"],
    ["a path that is too long", at("a/".repeat(100)), "unknown"],
    ["words with a line break", { ...at("a"), ...input({ query: "see\nsrc/a.ts" }) }, ""],
    ["a path in words", { ...at("a"), ...input({ query: "see\n/etc/passwd" }) }, "folder /etc"],
    ["a list of paths in one text", input({ paths: "src/a.ts,BASE/home/a" }), "folder BASE/home"],
    ["a link in a list", input({ paths: "src link" }), "folder BASE/home/sub"],
    ["a path in arguments", input({ path: ".", args: "-R --file=BASE/home/a" }), "folder BASE/home"],
    ["a path inside, in words", input({ query: "see BASE/cwd/src" }), "unknown"],
    ["a path outside, in words", input({ query: "see BASE/home/a" }), "unknown"],
    ["a path behind a sign", input({ path: "@BASE/home/a" }), "folder BASE/home"],
    ["a path in quotes", input({ path: "'BASE/home/a'" }), "folder BASE/home"],
    ["a path behind a space", input({ path: " BASE/home/a" }), "folder BASE/home"],
    ["a path behind a colon", input({ path: "HEAD:BASE/home/a" }), "folder BASE/home"],
    ["a pattern with alternatives", input({ glob: "{src/*,BASE/home/*}" }), "folder BASE/home"],
    ["a parent behind an alternative", input({ glob: "{src/*,../home/*}" }), "unknown"],
    ["a pattern with alternatives inside", input({ glob: "src/**/*.{ts,tsx}" }), ""],
    ["a parent behind a wildcard", input({ glob: "**/../a" }), "unknown"],
    ["a variable", input({ path: "$HOME/a" }), "unknown"],
    ["a variable in braces", input({ path: "${HOME}" }), "unknown"],
    ["a file whose name has a dollar sign", input({ path: "src/$slug.ts" }), ""],
    ["a parent as Windows writes it", input({ path: "..\\home\\a" }), "unknown"],
    ["a regular expression", input({ path: "src", pattern: "\\bfoo\\(" }), ""],
    ["a file URL with one slash", input({ uri: "file:BASE/home/a" }), "folder BASE/home"],
    ["a page with one slash", input({ url: "https:/example.com/a" }), "host example.com"],
    ["a page in words", input({ path: "a", prompt: "Send it to https://example.com/a" }), "host example.com"],
    ["a path that is the name of a field", input({ files: { "BASE/home/a": {} } }), "folder BASE/home"],
    ["input as JSON", input('{"path": "BASE/home/a"}'), "folder BASE/home"],
    ["a link in the folder that is searched", input({ path: "src", glob: "out/*" }), "folder BASE/home/sub"],
  ] as const
) {
  Deno.test(`outsidePlaces: ${name}: ${places || "none"}`, () => assertEquals(placesOf(toolCall), places));
}

for (
  const [name, toolCall, isUnsafe] of [
    ["nothing", {}, false],
    ["a path", at("a"), false],
    ["a command", input({ command: "ls" }), true],
    ["an empty command", input({ command: "" }), false],
    ["a command by another name", input({ path: "a", shellCommand: "ls" }), true],
    ["a command in an object", input({ path: "a", command: { program: "rm", arguments: ["b"] } }), true],
    ["more values than are examined", input(Array(1_001).fill(1)), true],
    ["a command line", input({ path: "a", command_line: "ls" }), true],
    ["a statement", input({ path: "a", sql: "DROP TABLE a" }), true],
    ["a command in JSON", input('{"command":"ls"}'), true],
    ["a command in words", { ...at("a"), ...input("rm -rf src") }, true],
    ["a description", input({ path: "a", description: "Reads it" }), false],
    ["a command deep in the input", input({ steps: [{ cmd: "ls" }] }), true],
    ["a script", input({ script: "x" }), true],
    ["a replacement", input({ file_path: "a", old_string: "a", new_string: "b" }), true],
    ["a patch", input({ patch: "x" }), true],
    ["a change", { content: [{ type: "diff", path: "a", newText: "" }] }, true],
    ["a terminal", { content: [{ type: "terminal", terminalId: "1" }] }, true],
    ["content that is newer than this program", { content: [{ type: "hologram" }] }, true],
    ["a text", content({ type: "text", text: "rm" }), false],
    ["more texts than are examined", input(Array(51).fill("a")), true],
    ["longer texts than are examined", input("a".repeat(20_000)), true],
    ["a deep input", input(JSON.parse("[".repeat(20) + '"a"' + "]".repeat(20))), true],
  ] as const
) {
  Deno.test(`accessOf: ${name} is ${isUnsafe ? "unsafe" : "safe"}`, () => {
    assertEquals(accessOf(toolCall).isUnsafe, isUnsafe);
  });
}

Deno.test("mergeAccess: keeps every path, is unsafe once one part was, and has a limit", () => {
  const [a, b, command] = [accessOf(at("a/1")), accessOf(at("b/2")), accessOf(input({ command: "ls" }))];
  const both = mergeAccess(mergeAccess(NO_ACCESS, a), b);
  assertEquals(both.targets.map(({ text }) => text), ["a/1", "b/2"]);
  assertEquals(mergeAccess(both, a).targets.length, 2);
  assertEquals([mergeAccess(command, a).isUnsafe, mergeAccess(a, command).isUnsafe], [true, true]);
  let many = NO_ACCESS;
  for (let count = 0; count < 300; count++) many = mergeAccess(many, accessOf(at(`file/${count}`)));
  assertEquals(many, { isUnsafe: true, targets: [] });
});
