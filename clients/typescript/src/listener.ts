/**
 * Returns a function that calls a page's listener, each time another function. What the listener throws is reported like any
 * error that nobody catches, and keeps nobody else from being told.
 */
export function isolated<T>(listener: (value: T) => void): (value: T) => void {
  return (value) => {
    try {
      listener(value);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  };
}
