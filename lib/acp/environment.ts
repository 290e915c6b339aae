/** The environment of an agent: only named variables reach it. @module */

/** Sources of an agent's environment. */
export interface EnvironmentSource {
  /** This program's own environment. */
  readonly own: Readonly<Record<string, string>>;
  /** Names of variables to copy from it. */
  readonly inherit: readonly string[];
  /** Variables to set. They override copied ones. */
  readonly set: Readonly<Record<string, string>>;
  readonly windows: boolean;
  /** Further folders of programs for `PATH`, such as {@linkcode nodeFolders}. */
  readonly programFolders?: readonly string[];
}

/** Variables that every agent gets, as in OpenAB. */
const ALWAYS = ["PATH", "HOME", "USER"];
/** Variables without which Windows programs do not run or do not find their files. */
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
/** Folders below the home directory where users install programs: desktop apps do not get the PATH of a shell. */
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

/** Builds the whole environment of an agent. */
export function agentEnvironment(source: EnvironmentSource): Record<string, string> {
  const { own, inherit, set, windows, programFolders = [] } = source;
  const copied: Record<string, string> = {};
  for (const name of [...ALWAYS, ...windows ? ALWAYS_WINDOWS : [], ...inherit]) {
    const value = windows ? getIgnoringCase(own, name) : own[name];
    if (value !== undefined) copied[name] = value;
  }
  const home = copied.HOME ?? copied.USERPROFILE;
  const separator = windows ? ";" : ":";
  const folders = [
    ...(copied.PATH ?? "").split(separator),
    ...home ? USER_BINS.map((folder) => `${home}/${folder}`) : [],
    ...programFolders,
    ...windows ? [] : SYSTEM_BINS,
  ].filter((folder) => folder !== "");
  return { ...copied, PATH: [...new Set(folders)].join(separator), ...set };
}

/** Variables that programs which speak and listen get: their language, their folder for files, and their libraries. */
const PROGRAM_VARIABLES = ["LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"];

/** Builds the whole environment of a program that speaks or listens. It has no secrets. */
export function programEnvironment(
  source: Pick<EnvironmentSource, "own" | "windows" | "programFolders">,
): Record<string, string> {
  return agentEnvironment({ ...source, inherit: PROGRAM_VARIABLES, set: {} });
}

function getIgnoringCase(variables: Readonly<Record<string, string>>, name: string): string | undefined {
  const upper = name.toUpperCase();
  return variables[name] ?? Object.entries(variables).find(([key]) => key.toUpperCase() === upper)?.[1];
}

/**
 * Lists the program folders of Node versions that nvm installed, newest first. nvm adds them to the PATH of shells
 * only.
 */
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
