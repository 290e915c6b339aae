import { assertEquals, assertStringIncludes } from "@std/assert";
import { agentEnvironment, type EnvironmentSource } from "../../lib/acp/environment.ts";

const SOURCE: EnvironmentSource = { own: {}, inherit: [], set: {}, windows: false };
const OWN = {
  PATH: "/usr/bin:/opt/own",
  HOME: "/home/mao",
  USER: "mao",
  LANG: "C",
  VTUBER_AUTH_KEY: "secret",
  OPENAI_API_KEY: "sk-1",
  EMPTY: "",
};

/** All but the PATH. */
function rest(environment: Record<string, string>): Record<string, string> {
  const { PATH: _path, ...others } = environment;
  return others;
}

const CASES: readonly (readonly [string, Partial<EnvironmentSource>, Record<string, string>])[] = [
  ["nothing there", {}, {}],
  ["what every agent gets, and no more", { own: OWN }, { HOME: "/home/mao", USER: "mao" }],
  ["what is named", { own: OWN, inherit: ["OPENAI_API_KEY", "LANG"] }, {
    HOME: "/home/mao",
    USER: "mao",
    OPENAI_API_KEY: "sk-1",
    LANG: "C",
  }],
  ["what is named and not there", { own: OWN, inherit: ["MISSING"] }, { HOME: "/home/mao", USER: "mao" }],
  ["what is named and empty", { own: OWN, inherit: ["EMPTY"] }, {
    HOME: "/home/mao",
    USER: "mao",
    EMPTY: "",
  }],
  ["what is set wins", { own: OWN, inherit: ["LANG"], set: { LANG: "de", HOME: "/else", NEW: "1" } }, {
    HOME: "/else",
    USER: "mao",
    LANG: "de",
    NEW: "1",
  }],
  ["a name in another case is another name", { own: OWN, inherit: ["lang"] }, {
    HOME: "/home/mao",
    USER: "mao",
  }],
];
for (const [name, source, expected] of CASES) {
  Deno.test(`agentEnvironment: ${name}`, () => {
    assertEquals(rest(agentEnvironment({ ...SOURCE, ...source })), expected);
  });
}

Deno.test("agentEnvironment: the key of the door is never handed on unless it is named", () => {
  for (const windows of [false, true]) {
    const environment = agentEnvironment({ ...SOURCE, own: OWN, inherit: ["LANG"], windows });
    assertEquals(JSON.stringify(environment).includes("secret"), false);
  }
  const named = agentEnvironment({ ...SOURCE, own: OWN, inherit: ["VTUBER_AUTH_KEY"] });
  assertEquals(named.VTUBER_AUTH_KEY, "secret");
});

/** The folders of the PATH that an agent gets. */
function folders(source: Partial<EnvironmentSource>): string[] {
  return (agentEnvironment({ ...SOURCE, ...source }).PATH ?? "").split(source.windows ? ";" : ":");
}

Deno.test("agentEnvironment: PATH begins with what is there, in its order, and gets what desktop apps lack", () => {
  const path = folders({ own: OWN, programFolders: ["/home/mao/.nvm/v24/bin"] });
  assertEquals(path.slice(0, 3), ["/usr/bin", "/opt/own", "/home/mao/.local/bin"]);
  for (
    const folder of [
      "/home/mao/.nvm/v24/bin",
      "/home/mao/.bun/bin",
      "/opt/homebrew/bin",
      "/usr/local/bin",
      "/bin",
    ]
  ) {
    assertEquals(path.filter((entry) => entry === folder), [folder]);
  }
});

Deno.test("agentEnvironment: no folder stands in PATH twice, none is empty", () => {
  const path = folders({
    own: { PATH: "/bin::/usr/bin:/home/mao/bin:/bin:", HOME: "/home/mao" },
    programFolders: ["/bin", "/n", "/n", ""],
  });
  assertEquals(path.slice(0, 3), ["/bin", "/usr/bin", "/home/mao/bin"]);
  assertEquals(new Set(path).size, path.length);
  assertEquals(path.includes(""), false);
});

Deno.test("agentEnvironment: without PATH and home there are the system's folders", () => {
  assertEquals(folders({ own: {} }), ["/opt/homebrew/bin", "/usr/local/bin", "/usr/bin", "/bin"]);
});

Deno.test("agentEnvironment: a PATH that is set is the PATH", () => {
  assertEquals(folders({ own: OWN, set: { PATH: "/only" } }), ["/only"]);
});

const WINDOWS = {
  Path: "C:\\Windows;C:\\Tools",
  UserProfile: "C:\\Users\\mao",
  SystemRoot: "C:\\Windows",
  ComSpec: "C:\\Windows\\cmd.exe",
  PATHEXT: ".EXE;.CMD",
  Temp: "C:\\T",
  Secret_Key: "secret",
};

Deno.test("agentEnvironment: on Windows names are found in any case, and come out as they are known", () => {
  const environment = agentEnvironment({ ...SOURCE, own: WINDOWS, windows: true });
  assertEquals(rest(environment), {
    USERPROFILE: "C:\\Users\\mao",
    SYSTEMROOT: "C:\\Windows",
    COMSPEC: "C:\\Windows\\cmd.exe",
    PATHEXT: ".EXE;.CMD",
    TEMP: "C:\\T",
  });
  assertStringIncludes(environment.PATH ?? "", "C:\\Windows;C:\\Tools;C:\\Users\\mao/.local/bin;");
  assertEquals(environment.PATH?.includes("/usr/bin"), false);
  const named = agentEnvironment({ ...SOURCE, own: WINDOWS, inherit: ["SECRET_KEY"], windows: true });
  assertEquals(named.SECRET_KEY, "secret");
});

Deno.test("agentEnvironment: on Windows the exact name comes before one in another case", () => {
  const own = { path: "C:\\lower", PATH: "C:\\exact" };
  assertEquals(folders({ own, windows: true }), ["C:\\exact"]);
});
