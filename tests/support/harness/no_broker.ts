/** A desk with nobody behind it: what has to be asked is refused. @module */

import { PermissionBroker } from "../../../lib/turn/permission.ts";

/** Nobody can be asked. */
export const NOBODY = new PermissionBroker({ timeoutMs: 60_000, canAnyoneAnswer: () => false });
