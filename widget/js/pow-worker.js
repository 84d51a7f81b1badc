/** Does a proof of work beside the page, so that nobody's typing or scrolling waits for it. */
import { search } from './pow.js';

addEventListener('message', ({ data: { challenge, difficulty } }) => postMessage(search(challenge, difficulty, 0, Infinity)));
