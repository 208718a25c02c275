// The first module that runs: it takes the secret out of the address before anything else sees it.

import { takeSecret } from './secret';

/** What was in the address when the page was opened. */
export const secret: string | null = takeSecret();
