import { assertEquals, assertStringIncludes } from "@std/assert";
import { agentEnvironment, type EnvironmentSource } from "../../lib/acp/environment.ts";

const OWN = {
  PATH: "/usr/bin:/opt/own",
  HOME: "/home/mao",
  USER: "mao",
  LANG: "C",
  VTUBER_AUTH_KEY: "secret",
  OPENAI_API_KEY: "sk-1",
  EMPTY: "",
};
const WINDOWS_OWN = {
  Path: "C:\\Windows;C:\\Tools",
  UserProfile: "C:\\Users\\mao",
  SystemRoot: "C:\\Windows",
  ComSpec: "C:\\Windows\\cmd.exe",
  PATHEXT: ".EXE;.CMD",
  Temp: "C:\\T",
  Secret_Key: "secret",
};

function environment(source: Partial<EnvironmentSource>): Record<string, string> {
  return agentEnvironment({ own: {}, inherit: [], set: {}, windows: false, ...source });
}

/** Returns the folders of the PATH. */
function path(source: Partial<EnvironmentSource>): string[] {
  return (environment(source).PATH ?? "").split(source.windows ? ";" : ":");
}

const USER = { HOME: "/home/mao", USER: "mao" };
for (
  const [name, source, expected] of [
    ["nothing from an empty environment", {}, {}],
    ["the default variables only", { own: OWN }, USER],
    ["inherited variables", { own: OWN, inherit: ["OPENAI_API_KEY", "LANG"] }, {
      ...USER,
      OPENAI_API_KEY: "sk-1",
      LANG: "C",
    }],
    ["no missing variables", { own: OWN, inherit: ["MISSING"] }, USER],
    ["empty variables", { own: OWN, inherit: ["EMPTY"] }, { ...USER, EMPTY: "" }],
    [
      "set variables instead of inherited ones",
      { own: OWN, inherit: ["LANG"], set: { LANG: "de", HOME: "/else", NEW: "1" } },
      { HOME: "/else", USER: "mao", LANG: "de", NEW: "1" },
    ],
    ["no variables in another case", { own: OWN, inherit: ["lang"] }, USER],
    ["variables in any case on Windows, by their known names", { own: WINDOWS_OWN, windows: true }, {
      USERPROFILE: "C:\\Users\\mao",
      SYSTEMROOT: "C:\\Windows",
      COMSPEC: "C:\\Windows\\cmd.exe",
      PATHEXT: ".EXE;.CMD",
      TEMP: "C:\\T",
    }],
  ] as const
) {
  Deno.test(`agentEnvironment: contains ${name}`, () => {
    const { PATH: _, ...rest } = environment(source);
    assertEquals(rest, expected);
  });
}

Deno.test("agentEnvironment: passes the server's key on only if it is named", () => {
  for (const windows of [false, true]) {
    const passed = environment({ own: OWN, inherit: ["LANG"], windows });
    assertEquals(JSON.stringify(passed).includes("secret"), false);
  }
  assertEquals(environment({ own: OWN, inherit: ["VTUBER_AUTH_KEY"] }).VTUBER_AUTH_KEY, "secret");
});

Deno.test("agentEnvironment: PATH keeps its folders in front, and gets the ones that desktop apps lack", () => {
  const nvm = "/home/mao/.nvm/v24/bin";
  const folders = path({ own: OWN, programFolders: [nvm] });
  assertEquals(folders.slice(0, 3), ["/usr/bin", "/opt/own", "/home/mao/.local/bin"]);
  for (const folder of [nvm, "/home/mao/.bun/bin", "/opt/homebrew/bin", "/usr/local/bin", "/bin"]) {
    assertEquals(folders.filter((entry) => entry === folder), [folder]);
  }
});

Deno.test("agentEnvironment: PATH has no folder twice and no empty one", () => {
  const own = { PATH: "/bin::/usr/bin:/home/mao/bin:/bin:", HOME: "/home/mao" };
  const folders = path({ own, programFolders: ["/bin", "/n", "/n", ""] });
  assertEquals(folders.slice(0, 3), ["/bin", "/usr/bin", "/home/mao/bin"]);
  assertEquals(new Set(folders).size, folders.length);
  assertEquals(folders.includes(""), false);
});

Deno.test("agentEnvironment: PATH is the system folders without an own one, or the set one", () => {
  assertEquals(path({}), ["/opt/homebrew/bin", "/usr/local/bin", "/usr/bin", "/bin"]);
  assertEquals(path({ own: OWN, set: { PATH: "/only" } }), ["/only"]);
});

Deno.test("agentEnvironment: on Windows, PATH has Windows folders, and names match in any case", () => {
  const { PATH = "", SECRET_KEY } = environment({ own: WINDOWS_OWN, inherit: ["SECRET_KEY"], windows: true });
  assertStringIncludes(PATH, "C:\\Windows;C:\\Tools;C:\\Users\\mao/.local/bin;");
  assertEquals([PATH.includes("/usr/bin"), SECRET_KEY], [false, "secret"]);
  assertEquals(path({ own: { path: "C:\\lower", PATH: "C:\\exact" }, windows: true }), ["C:\\exact"]);
});
