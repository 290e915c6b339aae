/** A collector of OpenTelemetry: takes spans and log lines over OTLP/HTTP, as JSON. @module */

/** A span. */
export interface ExportedSpan {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  /** Empty for a span without a parent. */
  readonly parentSpanId: string;
  readonly attributes: Readonly<Record<string, unknown>>;
  /** Names of the events. */
  readonly events: readonly string[];
  /** 0 is unset, 2 is an error. */
  readonly status: number;
}

/** A log line. */
export interface ExportedLog {
  /** Empty for a line outside of any span. */
  readonly traceId: string;
  readonly body: string;
}

/** The collected spans and log lines. */
export class OtlpCollector implements AsyncDisposable {
  readonly spans: ExportedSpan[] = [];
  readonly logs: ExportedLog[] = [];
  /** Every body, as it came. */
  text = "";
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  constructor() {
    this.#server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
      // Metrics of Deno come here too.
      if (!request.url.endsWith("/v1/metrics")) this.#add(await request.text());
      return Response.json({});
    });
  }

  /** The variables that make a Deno program export to this collector, every 50 milliseconds. */
  get env(): Record<string, string> {
    return {
      OTEL_DENO: "true",
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${this.#server.addr.port}`,
      OTEL_BSP_SCHEDULE_DELAY: "50",
      OTEL_BLRP_SCHEDULE_DELAY: "50",
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }

  #add(body: string): void {
    this.text += body;
    const { resourceSpans = [], resourceLogs = [] } = JSON.parse(body);
    for (const { scopeSpans } of resourceSpans) {
      for (const { spans } of scopeSpans) this.spans.push(...spans.map(toSpan));
    }
    for (const { scopeLogs } of resourceLogs) {
      for (const { logRecords } of scopeLogs) this.logs.push(...logRecords.map(toLog));
    }
  }
}

// deno-lint-ignore no-explicit-any
type Json = any;

function toSpan({ name, traceId, spanId, parentSpanId, attributes, events, status }: Json): ExportedSpan {
  const values = attributes.map(({ key, value }: Json) => [key, Object.values(value)[0]]);
  return {
    ...{ name, traceId, spanId, parentSpanId },
    attributes: Object.fromEntries(values),
    events: events.map(({ name }: Json) => name),
    status: status.code,
  };
}

function toLog({ traceId, body }: Json): ExportedLog {
  return { traceId, body: body.stringValue };
}
