/** One story: who comes, and what happens. What it looked like when it went wrong is kept as a picture. */
import { it } from 'node:test';
import { tab, visitor } from './visitor.js';

/**
 * @param {(denied: boolean) => import('playwright-core').Browser} driver
 *   `denied`: one without storage for frames
 * @returns {(name: string, tell: (arrives: (options?: import('playwright-core').BrowserContextOptions & {denied?: boolean}) => ReturnType<typeof visitor>) => Promise<void>, options?: {timeout?: number}) => void}
 */
export function storyteller(driver) {
  return (name, tell, { timeout = 60_000 } = {}) =>
    it(name, { timeout }, async () => {
      const here = [];
      try {
        await tell(async (options) => {
          const { denied = false, ...context } = options ?? {};
          const someone = await visitor(driver(denied), context);
          here.push(someone);
          return someone;
        });
      } catch (error) {
        for (const [index, page] of here.flatMap((someone) => someone.context.pages()).entries()) {
          await tab(page).shot(`failed ${name} ${index + 1}`).catch(() => {});
        }
        const noted = here.flatMap((someone) => [...someone.noted.errors, ...someone.noted.policy]);
        if (noted.length > 0) console.error(`${name}: in the browser's console\n  ${noted.join('\n  ')}`);
        throw error;
      } finally {
        for (const someone of here) await someone.close();
      }
    });
}
