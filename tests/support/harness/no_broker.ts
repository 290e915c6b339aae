import { PermissionBroker } from "../../../lib/turn/permission.ts";

/** A permission broker without anyone to answer: every request is refused. */
export const NO_BROKER = new PermissionBroker(60_000, () => false);
