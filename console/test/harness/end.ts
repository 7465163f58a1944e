/** The end of a test file: what its tests have started is stopped then, also if one has failed before it stopped it. */

const ends: (() => Promise<void>)[] = [];

/** Has `stopAll` stop what is being started; it may have stopped before. */
export async function stopAtEnd<T>(starting: Promise<T>, stop: (started: T) => Promise<void>): Promise<T> {
  ends.push(async () => {
    const started = await starting.catch(() => undefined);
    if (started) await stop(started);
  });
  return await starting;
}

/** Stops all that was started: for `after` in each test file. Otherwise it would keep the file from ending. */
export async function stopAll(): Promise<void> {
  await Promise.all(ends.map((end) => end()));
}
