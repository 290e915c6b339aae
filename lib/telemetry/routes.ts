/** The route of the telemetry: `GET /metrics`. @module */

import type { Route } from "../http/router.ts";
import { METRICS_CONTENT_TYPE } from "./metric_store.ts";
import type { Gauges, Metrics } from "./metrics.ts";

/** Creates the route. `readGauges` is called for each scrape. */
export function telemetryRoutes(metrics: Metrics, readGauges: () => Gauges): Route[] {
  return [{
    path: "/metrics",
    unversioned: true,
    GET: () =>
      new Response(metrics.write(readGauges()), {
        headers: { "content-type": METRICS_CONTENT_TYPE, "cache-control": "no-store" },
      }),
    docs: { GET: { name: "metrics", summary: "Counts and durations for Prometheus" } },
  }];
}
