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
  ["acp", "demo", "openai", "events", "clawd", "stage"],
  ["http"],
  ["conversation"],
  ["turn"],
  ["core"],
];

const SIDES = LAYERS.findIndex((layer) => layer.includes("acp"));
const ORDER = LAYERS.map((layer, index) => index === SIDES ? "sides" : layer.join(", ")).join(" > ");

/** Says what is wrong with an import and what to do instead; `undefined` for an allowed import. */
export function importFault(file: string, specifier: string): string | undefined {
  if (isAssert(specifier)) {
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
 * @param root The project's folder, as a path or file URL in the form of any operating system.
 * @param read Reads a file of the project, by its path below the root; `undefined` if there is no such file.
 */
export function createPlugin(root: string, read: (file: string) => string | undefined): Deno.lint.Plugin {
  const imports = new Map<string, readonly string[]>();
  const importsOf = (file: string) => {
    const known = imports.get(file) ?? importsIn(file, read(file) ?? "");
    imports.set(file, known);
    return known;
  };
  return {
    name: "structure",
    rules: {
      "import-direction": {
        create(context) {
          const file = relative(root, context.filename);
          return onImports((node, specifier) => {
            const message = importFault(file, inProject(root, specifier));
            if (message !== undefined) context.report({ node, message });
          });
        },
      },
      "import-circle": {
        create(context) {
          const file = relative(root, context.filename);
          if (unitOf(file) === undefined) return {};
          return onImports((node, specifier) => {
            const target = resolve(file, inProject(root, specifier));
            const circle = target && findCircle(file, target, importsOf);
            if (!circle) return;
            const message = `${
              [file, ...circle].join(" imports ")
            }: move the shared part into a file of its own`;
            context.report({ node, message });
          });
        },
      },
      "env-in-main": {
        create(context) {
          const file = relative(root, context.filename);
          const unit = unitOf(file);
          if (unit === undefined || unit === "main") return {};
          const message =
            `${file} may not read the environment: only main.ts does; take the value as a parameter`;
          return {
            MemberExpression(node) {
              if (propertyName(node.property, node.computed) === "env" && isDeno(node.object)) {
                context.report({ node, message });
              }
            },
            VariableDeclarator(node) {
              if (node.id.type !== "ObjectPattern" || !node.init || !isDeno(node.init)) return;
              for (const property of node.id.properties) {
                if (property.type === "Property" && propertyName(property.key, property.computed) === "env") {
                  context.report({ node: property, message });
                }
              }
            },
          };
        },
      },
    },
  };
}

const ROOT = import.meta.resolve("../");

export default createPlugin(ROOT, (file) => {
  try {
    return Deno.readTextFileSync(new URL(file, ROOT));
  } catch {
    return undefined;
  }
});

/** Visits every import of a file, in any syntax. */
function onImports(visit: (node: Deno.lint.Node, specifier: string) => void): Deno.lint.LintVisitor {
  const check = (node: Deno.lint.Node | null) => {
    const specifier = node === null ? undefined : literal(node);
    if (node !== null && specifier !== undefined) visit(node, specifier);
  };
  return {
    ImportDeclaration: (node) => check(node.source),
    ExportNamedDeclaration: (node) => check(node.source),
    ExportAllDeclaration: (node) => check(node.source),
    ImportExpression: (node) => check(node.source),
    TSExternalModuleReference: (node) => check(node.expression),
    TSImportType: (node) => check(node.argument),
  };
}

/** Lists the project's files that a source imports. Lines of doc comments do not count. */
function importsIn(file: string, source: string): string[] {
  return [...source.matchAll(/^(?!\s*\/?\*).*?\b(?:from|import) ?\(?"(\.[^"]+)"/gm)]
    .flatMap(([, specifier]) => resolve(file, specifier!) ?? []);
}

/** Returns the unit of a file: `main`, or the first name below lib/; `undefined` for other files. */
function unitOf(file: string): string | undefined {
  if (file === "main.ts") return "main";
  return /^lib\/([^/]+?)(?:\.[^./]+)?(?:\/|$)/.exec(file)?.[1];
}

function layerOf(unit: string): number {
  return LAYERS.findIndex((layer) => layer.includes(unit));
}

function isAssert(specifier: string): boolean {
  return /^(jsr:\/?)?@std\/assert(?=[@/]|$)|^npm:\/?deno-std(@[^/]*)?\/assert(?=[/.]|$)/.test(specifier);
}

/** Returns the project's file of a relative or rooted specifier; `undefined` for external ones. */
function resolve(file: string, specifier: string): string | undefined {
  const path = specifier.replace(/[?#].*$/, "");
  const rooted = path.startsWith("/");
  if (!rooted && !/^\.\.?(\/|$)/.test(path)) return undefined;
  const parts = rooted ? [] : file.split("/").slice(0, -1);
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "." && part !== "") parts.push(part);
  }
  return parts.join("/");
}

/** Normalises a path or file URL of any operating system. */
function normalize(path: string): string {
  const decoded = path.startsWith("file:")
    ? decodeURIComponent(path.replace(/^file:\/*(?=[A-Za-z]:|\/)/, ""))
    : path;
  const slashed = decoded.replaceAll("\\", "/").replace(/^\/\/\?\//, "");
  return slashed.replace(/^[A-Za-z]:/, (drive) => drive.toLowerCase());
}

/** Returns a file's path below the root. A relative path stays as it is. */
function relative(root: string, path: string): string {
  const base = normalize(root).replace(/\/*$/, "/");
  const file = normalize(path);
  return file.startsWith(base) ? file.slice(base.length) : file.replace(/^\.\//, "");
}

/** Turns an absolute path or file URL into the project into a rooted specifier. Others stay as they are. */
function inProject(root: string, specifier: string): string {
  if (!/^(file:|\/)/.test(specifier)) return specifier;
  const path = relative(root, specifier);
  return /^([a-z]:)?\//.test(path) ? specifier : `/${path}`;
}

function literal(node: Deno.lint.Node): string | undefined {
  if (node.type === "TSLiteralType") return literal(node.literal);
  if (node.type === "Literal") return typeof node.value === "string" ? node.value : undefined;
  if (node.type !== "TemplateLiteral" || node.expressions.length > 0) return undefined;
  return node.quasis.map((quasi) => quasi.cooked).join("");
}

function propertyName(key: Deno.lint.Node, computed: boolean): string | undefined {
  return !computed && key.type === "Identifier" ? key.name : literal(key);
}

/** Whether an expression is the global `Deno`, also by way of `globalThis`. */
function isDeno(node: Deno.lint.Node): boolean {
  if (node.type === "Identifier") return node.name === "Deno";
  return node.type === "MemberExpression" && propertyName(node.property, node.computed) === "Deno" &&
    node.object.type === "Identifier" && node.object.name === "globalThis";
}
