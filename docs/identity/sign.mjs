// Tells Frontdesk who is signed in. Node 18 or newer, nothing to install.
//
// In the shop:   const token = identityToken(process.env.IDENTITY_SECRET, 'customer-17', { name: 'Ada' });
// To try it:     IDENTITY_SECRET=... node sign.mjs customer-17 '{"name":"Ada"}' [site]

import { createHmac } from 'node:crypto';
import { fileURLToPath } from 'node:url';

/** `claims`: what of the customer n8n shall know. */
export function identityToken(secret, customer, claims = {}, site = 'default') {
  const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  // What stands last wins: a claim can't replace these.
  const payload = { ...claims, sub: customer, aud: site, iat: now, exp: now + 300 };
  const message = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(payload)}`;
  return `${message}.${createHmac('sha256', secret).update(message).digest('base64url')}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [customer, claims = '{}', site = 'default'] = process.argv.slice(2);
  console.log(identityToken(process.env.IDENTITY_SECRET, customer, JSON.parse(claims), site));
}
