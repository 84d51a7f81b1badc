// The same as sign.mjs with a key pair instead of a secret (ES256). Node 18 or newer, nothing to install.
//
// In the shop:   const token = identityToken(readFileSync('private.pem'), '2026-a', 'customer-17', { name: 'Ada' });
// The key pair:  node keys.mjs make 2026-a        writes private.pem, which stays at the shop, and jwks.json
// To try it:     node keys.mjs sign 2026-a customer-17 '{"name":"Ada"}' [site]

import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The public half of a private key in PEM, for a JWK Set. `kid` is its name there. */
export function publicKey(pem, kid) {
  return { ...createPublicKey(pem).export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' };
}

/** `claims`: what of the customer n8n shall know. */
export function identityToken(pem, kid, customer, claims = {}, site = 'default') {
  const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  // What stands last wins: a claim can't replace these.
  const payload = { ...claims, sub: customer, aud: site, iat: now, exp: now + 300 };
  const message = `${encode({ alg: 'ES256', typ: 'JWT', kid })}.${encode(payload)}`;
  // JWTs want the two plain numbers; node's default is DER.
  const signature = sign('sha256', Buffer.from(message), { key: createPrivateKey(pem), dsaEncoding: 'ieee-p1363' });
  return `${message}.${signature.toString('base64url')}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [command, kid, customer, claims = '{}', site = 'default'] = process.argv.slice(2);
  if (command === 'make' && kid) {
    if (existsSync('private.pem')) throw new Error('there is a private.pem already');
    const pem = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' });
    writeFileSync('private.pem', pem, { mode: 0o600 });
    writeFileSync('jwks.json', `${JSON.stringify({ keys: [publicKey(pem, kid)] }, null, 2)}\n`);
  } else if (command === 'sign' && kid && customer) {
    console.log(identityToken(readFileSync('private.pem'), kid, customer, JSON.parse(claims), site));
  } else {
    throw new Error('node keys.mjs make KID | sign KID CUSTOMER [CLAIMS] [SITE]');
  }
}
