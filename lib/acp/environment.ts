/** The environment of an agent: what is not named does not reach it. @module */

/** What the environment is made from. */
export interface EnvironmentSource {
  /** This program's own. */
  readonly own: Readonly<Record<string, string>>;
  /** Names of variables to hand on. */
  readonly inherit: readonly string[];
  /** Variables to set. */
  readonly set: Readonly<Record<string, string>>;
  readonly windows: boolean;
  /** More folders of programs, such as those of Node versions. */
  readonly programFolders?: readonly string[];
}

/** What every agent gets, as in OpenAB. */
const ALWAYS = ["PATH", "HOME", "USER"];
/** Without these no program runs on Windows, or finds its files. */
const ALWAYS_WINDOWS = [
  "USERPROFILE",
  "USERNAME",
  "SYSTEMROOT",
  "SYSTEMDRIVE",
  "COMSPEC",
  "PATHEXT",
  "APPDATA",
  "LOCALAPPDATA",
  "PROGRAMDATA",
  "PROGRAMFILES",
  "TEMP",
  "TMP",
];
/** Where users' programs are, below their home: a desktop app is not given the PATH of their shell. */
const USER_BINS = [
  ".local/bin",
  "bin",
  ".opencode/bin",
  ".claude/local",
  ".bun/bin",
  ".deno/bin",
  ".cargo/bin",
  ".volta/bin",
  ".npm-global/bin",
  ".local/share/pnpm",
  ".local/share/mise/shims",
  ".asdf/shims",
];
const SYSTEM_BINS = ["/opt/homebrew/bin", "/usr/local/bin", "/usr/bin", "/bin"];

/** The whole environment of an agent. */
export function agentEnvironment(source: EnvironmentSource): Record<string, string> {
  const { own, inherit, set, windows } = source;
  const names = [...ALWAYS, ...windows ? ALWAYS_WINDOWS : [], ...inherit];
  const found: Record<string, string> = {};
  for (const name of names) {
    const value = windows ? ignoringCase(own, name) : own[name];
    if (value !== undefined) found[name] = value;
  }
  const home = found.HOME ?? found.USERPROFILE;
  const separator = windows ? ";" : ":";
  const folders = [
    ...(found.PATH ?? "").split(separator),
    ...home ? USER_BINS.map((folder) => `${home}/${folder}`) : [],
    ...source.programFolders ?? [],
    ...windows ? [] : SYSTEM_BINS,
  ].filter((folder) => folder !== "");
  return { ...found, PATH: [...new Set(folders)].join(separator), ...set };
}

function ignoringCase(own: Readonly<Record<string, string>>, name: string): string | undefined {
  return own[name] ?? Object.entries(own).find(([key]) => key.toUpperCase() === name.toUpperCase())?.[1];
}

/** Programs of Node versions that nvm installed, the newest first: nvm puts them on the PATH of shells only. */
export function nodeFolders(home: string | undefined): string[] {
  const root = `${home}/.nvm/versions/node`;
  try {
    return [...Deno.readDirSync(root)].map(({ name }) => name)
      .sort((a, b) => b.localeCompare(a, undefined, { numeric: true }))
      .map((name) => `${root}/${name}/bin`);
  } catch {
    return [];
  }
}
