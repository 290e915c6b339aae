import { assertEquals } from "@std/assert";
import { dataDirOf } from "../../lib/config/load.ts";
import { loadConfig } from "../../lib/config/load.ts";

const FOLDERS: [
  os: string,
  set: string | undefined,
  env: Record<string, string>,
  folder: string | undefined,
][] = [
  ["linux", undefined, { HOME: "/home/mao" }, "/home/mao/.local/share/oab-vtuber"],
  ["linux", undefined, { HOME: "/home/mao", XDG_DATA_HOME: "/data" }, "/data/oab-vtuber"],
  ["linux", undefined, { XDG_DATA_HOME: "/data" }, "/data/oab-vtuber"],
  ["linux", undefined, { HOME: "/home/mao", XDG_DATA_HOME: "data" }, "/home/mao/.local/share/oab-vtuber"],
  ["linux", undefined, { HOME: "/home/mao", XDG_DATA_HOME: "" }, "/home/mao/.local/share/oab-vtuber"],
  ["linux", undefined, { HOME: "" }, undefined],
  ["linux", undefined, {}, undefined],
  ["freebsd", undefined, { HOME: "/home/mao" }, "/home/mao/.local/share/oab-vtuber"],
  ["darwin", undefined, { HOME: "/Users/mao" }, "/Users/mao/Library/Application Support/oab-vtuber"],
  [
    "darwin",
    undefined,
    { HOME: "/Users/mao", XDG_DATA_HOME: "/data" },
    "/Users/mao/Library/Application Support/oab-vtuber",
  ],
  ["darwin", undefined, {}, undefined],
  ["windows", undefined, { LOCALAPPDATA: "C:\\Users\\mao\\Local" }, "C:\\Users\\mao\\Local\\oab-vtuber"],
  ["windows", undefined, { USERPROFILE: "C:\\Users\\mao" }, "C:\\Users\\mao\\AppData\\Local\\oab-vtuber"],
  ["windows", undefined, { HOME: "/home/mao" }, undefined],
  ["linux", "/elsewhere", { HOME: "/home/mao" }, "/elsewhere"],
  ["linux", "here", {}, "here"],
  ["linux", "none", { HOME: "/home/mao" }, undefined],
  ["windows", "NONE", { LOCALAPPDATA: "C:\\Local" }, undefined],
];

for (const [os, set, env, folder] of FOLDERS) {
  Deno.test(`dataDirOf: ${set ?? "unset"} on ${os} with ${JSON.stringify(env)}`, () => {
    assertEquals(dataDirOf(set, os, env), folder);
    const source = { env: { ...env, VTUBER_DATA_DIR: set ?? "" }, os };
    assertEquals(loadConfig(source).config.dataDir, folder);
  });
}

Deno.test("loadConfig: without a home folder it is told that nothing is kept, unless nothing should be", () => {
  const [warning, ...more] = loadConfig({ env: {} }).warnings;
  assertEquals(more, []);
  assertEquals(warning?.includes("VTUBER_DATA_DIR"), true);
  const settings: Record<string, string>[] = [{ VTUBER_DATA_DIR: "none" }, { VTUBER_DATA_DIR: "x" }, {
    VTUBER_SESSIONS: "stateless",
  }];
  for (const env of settings) {
    assertEquals(loadConfig({ env }).warnings, []);
  }
});
