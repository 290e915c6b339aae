import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { checkDataDir, findFolder, findProgram, listenFault } from "../../lib/doctor/checks.ts";

const LOOPBACK = { hostname: "127.0.0.1", port: 0 };

Deno.test("listenFault: an address that is free, and is not kept", async () => {
  assertEquals(await listenFault(LOOPBACK), undefined);
});

const NEIGHBOURS: [name: string, answer: () => Response, fault: string][] = [
  [
    "this program",
    () => Response.json({ name: "oab-vtuber", version: "1" }),
    "an oab-vtuber runs there already",
  ],
  ["another program", () => Response.json({ name: "other" }), "another program listens there"],
  ["one that never ends its answer", () => new Response(endless()), "another program listens there"],
];

function endless(): ReadableStream<Uint8Array> {
  return new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(1024).fill(32)) });
}

for (const [name, answer, fault] of NEIGHBOURS) {
  Deno.test(`listenFault: an address that ${name} has`, async () => {
    await using server = Deno.serve({ ...LOOPBACK, onListen() {} }, answer);
    assertEquals(await listenFault({ ...LOOPBACK, port: server.addr.port }), fault);
  });
}

Deno.test("listenFault: an address that somebody has who speaks no HTTP", async () => {
  using listener = Deno.listen(LOOPBACK);
  const serving = (async () => {
    for await (const connection of listener) connection.close();
  })();
  assertEquals(
    await listenFault({ ...LOOPBACK, port: listener.addr.port }),
    "another program listens there",
  );
  listener.close();
  await serving;
});

Deno.test("listenFault: an address of another machine", async () => {
  assertEquals(await listenFault({ hostname: "192.0.2.1", port: 0 }), "this machine has no such address");
});

Deno.test("findProgram: where a program is, as it is found when it is started", async () => {
  const root = await Deno.realPath(await Deno.makeTempDir());
  try {
    await Deno.mkdir(`${root}/one`);
    await Deno.mkdir(`${root}/two/dir`, { recursive: true });
    await Deno.writeTextFile(`${root}/one/plain`, "", { mode: 0o644 });
    await Deno.writeTextFile(`${root}/two/plain`, "", { mode: 0o755 });
    await Deno.writeTextFile(`${root}/one/only`, "", { mode: 0o644 });
    await Deno.writeTextFile(`${root}/two/tool.CMD`, "", { mode: 0o644 });
    const unix = { cwd: root, env: { PATH: `${root}/none:${root}/one::two:${root}/two` }, windows: false };
    const cases: [command: string, path: string | undefined, isExecutable?: boolean][] = [
      ["plain", `${root}/two/plain`, true],
      ["only", `${root}/one/only`, false],
      ["dir", undefined],
      ["nowhere", undefined],
      ["two/plain", `${root}/two/plain`, true],
      ["./one/only", `${root}/one/only`, false],
      [`${root}/two/plain`, `${root}/two/plain`, true],
      [`${root}/nowhere`, undefined],
    ];
    for (const [command, path, isExecutable = false] of cases) {
      assertEquals(await findProgram({ ...unix, command }), path && { path, isExecutable }, command);
    }
    const windows = {
      cwd: root,
      env: { PATH: `${root}/one;${root}/two`, PATHEXT: ".EXE;.CMD" },
      windows: true,
    };
    assertEquals(await findProgram({ ...windows, command: "tool" }), {
      path: `${root}/two/tool.CMD`,
      isExecutable: true,
    });
    assertEquals(await findProgram({ ...unix, env: {}, command: "plain" }), undefined);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

const SCRIPTS: [line: string, missing: string | undefined][] = [
  ["", undefined],
  ["#!/bin/sh", undefined],
  ["#! /bin/sh -e", undefined],
  ["#!/no/such/shell -e", "/no/such/shell"],
  ["#!/usr/bin/env sh", undefined],
  ["#!/usr/bin/env no-such-node", "no-such-node"],
  ["#!/usr/bin/env -S A=b no-such-node --flag", "no-such-node"],
  ["#!", undefined],
];

for (const [line, missingInterpreter] of SCRIPTS) {
  Deno.test(`findProgram: a script that begins with ${JSON.stringify(line)}`, async () => {
    const root = await Deno.realPath(await Deno.makeTempDir());
    try {
      const path = `${root}/script`;
      await Deno.writeTextFile(path, `${line}\nexit 0\n`, { mode: 0o755 });
      const source = { command: path, cwd: root, env: { PATH: "/usr/bin:/bin" }, windows: false };
      const found = { path, isExecutable: true, ...missingInterpreter && { missingInterpreter } };
      assertEquals(await findProgram(source), found);
    } finally {
      await Deno.remove(root, { recursive: true });
    }
  });
}

Deno.test("findFolder: the whole path of what is there, and whether it is a folder", async () => {
  const root = await Deno.realPath(await Deno.makeTempDir());
  try {
    await Deno.writeTextFile(`${root}/file`, "");
    await Deno.symlink(root, `${root}/link`);
    assertEquals(await findFolder(`${root}/link`), { path: root, isFolder: true });
    assertEquals(await findFolder(`${root}/file`), { path: `${root}/file`, isFolder: false });
    assertEquals(await findFolder(`${root}/nowhere`), undefined);
    assertEquals(await findFolder("."), { path: await Deno.realPath("."), isFolder: true });
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("checkDataDir: a folder that is new, one that is damaged, and one that cannot be", async () => {
  const root = await Deno.makeTempDir();
  try {
    const folder = `${root}/memory`;
    const ok = { level: "ok", text: `conversations are remembered in ${folder}: 0 so far` } as const;
    assertEquals(await checkDataDir(folder), ok);
    for await (const { name } of Deno.readDir(folder)) {
      if (name.endsWith(".db")) await Deno.writeTextFile(`${folder}/${name}`, "no database".repeat(1000));
    }
    const damaged = await checkDataDir(folder);
    assertEquals(damaged.level, "warn");
    assertMatch(damaged.text, /damaged/);
    assertEquals(await checkDataDir(folder), ok);
    await Deno.writeTextFile(`${root}/file`, "");
    await assertRejects(() => checkDataDir(`${root}/file/memory`), Error, "file/memory");
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
