/**
 * A `deno lint` plugin for the structure of the program: imports go down the layers and never in a circle, only main.ts
 * reads the environment, and assertions stay in tests.
 *
 * @module
 */

/** The layers from top to bottom. The units of one layer never import each other. */
export const LAYERS: readonly (readonly string[])[] = [
  ["main"],
  ["server"],
  ["app", "doctor"],
  ["config"],
  ["acp", "demo", "openai", "events", "clawd", "stage", "telemetry"],
  ["speech", "http"],
  ["conversation"],
  ["turn"],
  ["core"],
];

const ORDER = LAYERS.map((layer) => layer.includes("acp") ? "sides" : layer.join(", ")).join(" > ");

/** Says what is wrong with an import and what to do instead; `undefined` for an allowed import. */
export function importFault(file: string, specifier: string): string | undefined {
  if (specifier.startsWith("@std/assert")) {
    if (file.startsWith("tests/")) return undefined;
    return `${file} may not import ${specifier}: assertions belong in tests; throw an AppError instead`;
  }
  const from = unitOf(file);
  const target = resolve(file, specifier);
  if (from === undefined || from === "main" || target === undefined) return undefined;
  const prefix = `${file} may not import ${target}:`;
  if (/^(tests|scripts)\//.test(target)) return `${prefix} the program uses lib/ only; move the file there`;
  const to = unitOf(target);
  if (to === undefined || to === from) return undefined;
  const [upper, lower] = [layerOf(from), layerOf(to)];
  const unlisted = upper < 0 ? from : lower < 0 ? to : undefined;
  if (unlisted !== undefined) {
    return `${prefix} lib/${unlisted} is in no layer; add it to LAYERS in scripts/lint_imports.ts`;
  }
  if (lower > upper) return undefined;
  const remedy = to === "config"
    ? "take the options as a parameter"
    : "take a function as a parameter, from lib/server.ts";
  if (lower === upper) return `${prefix} units of one layer never import each other; ${remedy}`;
  return `${prefix} imports go down (${ORDER}) and ${to} is above ${from}; ${remedy}`;
}

/**
 * Finds an import circle.
 *
 * @param importsOf Returns the files that a file imports.
 * @returns The files from `target` to `file`, if `file` imports `target` and `target`, perhaps by others, `file`.
 */
export function findCircle(
  file: string,
  target: string,
  importsOf: (file: string) => readonly string[],
): string[] | undefined {
  const seen = new Set<string>();
  const walk = (current: string): string[] | undefined => {
    if (current === file) return [current];
    if (seen.has(current)) return undefined;
    seen.add(current);
    for (const next of importsOf(current)) {
      const path = walk(next);
      if (path) return [current, ...path];
    }
    return undefined;
  };
  return walk(target);
}

/**
 * Creates the plugin.
 *
 * @param root The project's folder, with a slash at the end.
 * @param read Reads a file of the project, by its path below the root; empty if there is no such file.
 */
export function createPlugin(root: string, read: (file: string) => string): Deno.lint.Plugin {
  const cache = new Map<string, readonly string[]>();
  const importsOf = (file: string) => {
    const imports = cache.get(file) ??
      importsIn(read(file)).flatMap(({ specifier }) => resolve(file, specifier) ?? []);
    cache.set(file, imports);
    return imports;
  };
  const relative = (path: string) => path.replaceAll("\\", "/").replace(root, "");
  return {
    name: "structure",
    rules: {
      imports: {
        create: (context) => ({
          Program() {
            const file = relative(context.filename);
            for (const { specifier, range } of importsIn(context.sourceCode.text)) {
              const fault = importFault(file, specifier);
              if (fault) context.report({ range, message: fault });
              const target = unitOf(file) && resolve(file, specifier);
              const circle = target && findCircle(file, target, importsOf);
              if (!circle) continue;
              const path = [file, ...circle].join(" imports ");
              context.report({ range, message: `${path}: move the shared part into a file of its own` });
            }
          },
        }),
      },
      "env-in-main": {
        create: (context) => ({
          "MemberExpression[object.name=Deno][property.name=env]"(node: Deno.lint.MemberExpression) {
            const file = relative(context.filename);
            if ((unitOf(file) ?? "main") === "main") return;
            const message =
              `${file} may not read the environment: only main.ts does; take the value as a parameter`;
            context.report({ node, message });
          },
        }),
      },
    },
  };
}

const ROOT = new URL("../", import.meta.url);

export default createPlugin(decodeURI(ROOT.pathname).replace(/^\/(?=[A-Za-z]:)/, ""), (file) => {
  try {
    return Deno.readTextFileSync(new URL(file, ROOT));
  } catch {
    return "";
  }
});

/** Lists the imports of a source, one a line as `deno fmt` writes them. Lines of doc comments do not count. */
function importsIn(source: string): { specifier: string; range: [number, number] }[] {
  return [...source.matchAll(/^(?!\s*\/?\*).*?\b(?:from|import) ?\(?"([^"]+)"/gm)]
    .map(({ 0: line, 1: specifier, index }) => ({
      specifier: specifier!,
      range: [index, index + line.length],
    }));
}

/** Returns the unit of a file: `main`, or the first name below lib/; `undefined` for other files. */
function unitOf(file: string): string | undefined {
  if (file === "main.ts") return "main";
  return /^lib\/([^/]+?)(?:\.ts)?(?:\/|$)/.exec(file)?.[1];
}

function layerOf(unit: string): number {
  return LAYERS.findIndex((layer) => layer.includes(unit));
}

/** Returns the project's file of a relative specifier; `undefined` for external ones. */
function resolve(file: string, specifier: string): string | undefined {
  return specifier.startsWith(".") ? new URL(specifier, `file:///${file}`).pathname.slice(1) : undefined;
}
