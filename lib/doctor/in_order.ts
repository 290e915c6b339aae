/** Works on several things at once. @module */

/**
 * Works on a few items at once, and takes the results in the order of the items. What throws ends it: nothing more is
 * begun, and what was begun is waited for.
 */
export async function inOrder<T, R>(
  items: readonly T[],
  atOnce: number,
  work: (item: T) => Promise<R>,
  take: (result: R, place: number) => void,
): Promise<void> {
  const results = items.map(() => Promise.withResolvers<R>());
  // Whoever takes them hears of it.
  for (const { promise } of results) promise.catch(() => {});
  const left = items.entries();
  let isOver = false;
  const worker = async () => {
    for (const [place, item] of left) {
      if (isOver) return;
      const { resolve } = results[place]!;
      const working = work(item);
      resolve(working);
      await working.catch(() => {});
    }
  };
  const workers = Array.from({ length: atOnce }, worker);
  try {
    for (const [place, { promise }] of results.entries()) take(await promise, place);
  } finally {
    isOver = true;
    await Promise.allSettled(workers);
  }
}
