/** The texts of the errors in `.github/docs/errors.md`. @module */

import type { ErrorCode } from "../lib/core/errors.ts";

/** The meaning and the fix of every error. */
export const ERROR_DOCS: Readonly<Record<ErrorCode, readonly [meaning: string, fix: string]>> = {
  invalid_json: [
    "The body is empty, cut off, not JSON, or nested deeper than 64 levels.",
    "Send one complete JSON object.",
  ],
  invalid_type: ["A field has the wrong type.", "Change the field in `param`."],
  invalid_value: [
    "A field has a value that is not allowed, such as an image by web address.",
    "Change the field in `param` as the message says.",
  ],
  missing_required_parameter: ["A field is missing, such as `messages`.", "Add the field in `param`."],
  previous_response_not_found: [
    "The response in `previous_response_id` is not kept: its request had `store: false`, or its time is over.",
    'Send the whole conversation as `input`, or use `"store": true`.',
  ],
  unsupported_parameter: [
    "`tool_choice` forces one of the client's tools, which the agent cannot use.",
    "Leave it out, or use `auto` or `none`.",
  ],
  unsupported_value: [
    "A field asks for what an agent cannot do, such as `n` above 1. Or a sound has a format that this server cannot make " +
    "or read.",
    "Leave the field out, or take a format that the message names: see [Voice](voice.md#ffmpeg).",
  ],
  unsupported_content_type: [
    "A part of a message has an unknown type, such as `file`.",
    "Send text, images or audio.",
  ],
  unsupported_media_type: [
    "The body is not declared as JSON, is compressed, or is not in UTF-8.",
    "Send JSON in UTF-8 with the header `content-type: application/json`.",
  ],
  invalid_api_key: [
    "The key is missing or wrong.",
    "Send `VTUBER_AUTH_KEY`, or a key of `[keys.NAME]`, as `Authorization: Bearer KEY`.",
  ],
  origin_not_allowed: [
    "The request comes from a web page of another site, and no key is set.",
    "Add the page's origin to `VTUBER_ALLOWED_ORIGINS`, or set a key.",
  ],
  host_not_allowed: [
    "The request comes from another machine or through a proxy, or uses the name of another machine, and no key is set.",
    "Use `127.0.0.1` or `localhost`, or set a key.",
  ],
  insufficient_scope: [
    "The key of the request does not have the scope that the message names.",
    "Use a key that has it, or add it to `scopes` of `[keys.NAME]` in `config.toml`.",
  ],
  not_found: [
    "The path, the permission request, the conversation, the response or the item does not exist.",
    "See `GET /` for the paths. Enter the address in the skin up to `/v1` only.",
  ],
  model_not_found: [
    "No agent has this model, and `VTUBER_STRICT_MODELS` is set or `GET /v1/models/{id}` asked for it.",
    "Use a name that `GET /v1/models` lists.",
  ],
  method_not_allowed: [
    "The path exists, but not for this method.",
    "Use a method that the header `allow` lists.",
  ],
  request_timeout: [
    "The body did not arrive within 60 seconds, or a recording within 120.",
    "Send less, or faster.",
  ],
  idempotency_key_conflict: [
    "A different request had the same `Idempotency-Key`.",
    "Use a new key for each request.",
  ],
  turn_cancelled: [
    "Before the agent got the request, a newer request superseded it, somebody interrupted it, or its " +
    "conversation was forgotten. Or the request repeats one whose turn was cancelled.",
    "Nothing, or send it as a new request.",
  ],
  permission_resolved: [
    "The permission request was answered before, its time ran out, or its turn has ended.",
    "Nothing.",
  ],
  session_busy: [
    "The conversation is still answering and `VTUBER_ON_BUSY` is `reject`, or it is `queue` and 8 requests " +
    "already wait or this one has waited for 60 seconds.",
    "Wait for the seconds in `retry-after`.",
  ],
  body_too_large: [
    "The body is larger than 20 MiB, a recording is larger than 25 MiB or longer than an hour, a command has more than " +
    "16,384 characters, or the answer of an upstream is too large.",
    "Send smaller images, or fewer inputs at once.",
  ],
  invalid_output: [
    "The agent's reply is not the JSON that `response_format` or `text.format` asks for.",
    "Ask more clearly, or leave the format out.",
  ],
  upgrade_required: [
    "`GET /v1/vtuber/ws` was requested, but not as a WebSocket.",
    "Connect with `ws://` or `wss://`. A proxy in between has to pass WebSockets on.",
  ],
  insufficient_quota: [
    "The key of the request has spent its `turns_per_day`. Or the quota of an upstream is used up.",
    "Wait for the next day (UTC), or raise `turns_per_day` of the key. Or pay for the server.",
  ],
  rate_limit_exceeded: [
    "The key has made as many requests in a minute as its `requests_per_minute` allows. Or all turns are in use, " +
    "5,000 clients are connected for events, a client sends more than 50 commands a second, many wrong keys wait for " +
    "their answer, many JSON schemas wait for their check, many texts are spoken or recordings transcribed, a " +
    "request was repeated 16 times, or an upstream is busy.",
    "Wait for the seconds in `retry-after`, or raise the limit that the message names.",
  ],
  server_overloaded: [
    "The bodies of all requests together are larger than 128 MiB, or those of the key larger than 96 MiB.",
    "Wait for the seconds in `retry-after`. Send smaller images.",
  ],
  internal_error: [
    "The program has a fault, or cannot write to `VTUBER_DATA_DIR`.",
    "If the message names `VTUBER_DATA_DIR`, do what it says. Else report it with the lines of the log that have the " +
    "request id in the message.",
  ],
  not_configured: [
    "No server makes embeddings, nothing transcribes recordings, or the voice is turned off.",
    "Set what the message names: see [Configuration](configuration.md#embeddings) and [Voice](voice.md).",
  ],
  agent_error: [
    "The agent answered with an error, such as a used-up quota, an unknown model, or a provider that fails.",
    "Read the message: it has the agent's own words. A stream only has a short sentence.",
  ],
  agent_crashed: [
    "The agent's process ended during the turn.",
    "Read the agent's last lines in the log. Try again.",
  ],
  agent_cancelled: [
    "The agent stopped by itself, often because a permission was rejected.",
    "See [Permissions](permissions.md).",
  ],
  agent_auth_required: [
    "The agent asks for a log-in that needs a person.",
    "Log in with the agent's own program, or pass its key on: see [Agents](agents.md).",
  ],
  agent_unavailable: [
    "The agent could not be started, exited early, or did not answer.",
    "Run `oab-vtuber doctor`, and read the log.",
  ],
  upstream_error: [
    "An upstream (the server of `[embeddings]`, `[speech]` or `[transcription]`) or a program of the voice refused the " +
    "request, or failed. If it refused, the status is its own.",
    "Read the message: it has the server's own words.",
  ],
  upstream_unavailable: [
    "An upstream cannot be reached, redirects, or does not answer as OpenAI's API does. Or a program of the voice was " +
    "not found.",
    "Run `oab-vtuber doctor`, which says why. Start the server or install the program, or correct the setting that the " +
    "message names.",
  ],
  upstream_auth_required: [
    "An upstream refuses its key, or needs one.",
    "Correct the `key` that the message names.",
  ],
  shutting_down: ["The server is shutting down.", "Start it again."],
  agent_timeout: [
    "The agent was silent for too long, or its turn took too long.",
    "Raise `VTUBER_REPLY_TIMEOUT_SECS` or `VTUBER_TURN_TIMEOUT_SECS`.",
  ],
  upstream_timeout: [
    "An upstream did not answer within 240 seconds, was silent for 60 seconds in the middle of its answer, or a program " +
    "of the voice took too long.",
    "Send less at once.",
  ],
};
