/** A desk with nobody behind it: what has to be asked is refused. @module */

import { PermissionBroker } from "../../../lib/turn/permission.ts";

/** Nobody can be asked. */
export const NO_BROKER = new PermissionBroker({ timeoutMs: 60_000, canAnyoneAnswer: () => false });
