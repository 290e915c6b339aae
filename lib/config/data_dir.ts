/** Where conversations are remembered. Pure. @module */

import { atHome } from "./kinds.ts";

/** What `VTUBER_DATA_DIR` is set to so that nothing is kept on disk. */
const NONE = "none";
/** The folder in the system's folder for data. */
const OWN = "oab-vtuber";
/** The warning for who has no home folder. */
export const NO_HOME =
  "Conversations are not kept on disk, since this user has no home folder: set VTUBER_DATA_DIR to a folder.";

/** The folder that is set, or the usual one of the operating system (`Deno.build.os`); nothing if there is none. */
export function dataDirOf(
  set: string | undefined,
  os: string,
  env: Readonly<Record<string, string>>,
): string | undefined {
  if (set !== undefined) return keepsNothing(set) ? undefined : atHome(set, env);
  if (os === "windows") {
    const local = env.LOCALAPPDATA || (env.USERPROFILE && `${env.USERPROFILE}\\AppData\\Local`);
    return local ? `${local}\\${OWN}` : undefined;
  }
  const { HOME: home, XDG_DATA_HOME: xdg } = env;
  if (os === "darwin") return home ? `${home}/Library/Application Support/${OWN}` : undefined;
  // What is not absolute is to be ignored, says the XDG specification.
  if (xdg?.startsWith("/")) return `${xdg}/${OWN}`;
  return home ? `${home}/.local/share/${OWN}` : undefined;
}

/** Whether nothing is to be kept on disk, as it was set. */
export function keepsNothing(set: string | undefined): boolean {
  return set?.toLowerCase() === NONE;
}
