import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createApi } from '../js/api.js';
import { createSigner } from '../js/proof.js';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256' };
const newKeys = () => crypto.subtle.generateKey(ALGORITHM, false, ['sign', 'verify']);
const sha256 = async (text) => Buffer.from(await crypto.subtle.digest('SHA-256', Buffer.from(text))).toString('base64url');

/** What a proof says, once its signature was checked with the key in it. */
async function read(proof) {
  const [header, claims, signature] = proof.split('.');
  const { typ, alg, jwk } = JSON.parse(Buffer.from(header, 'base64url'));
  assert.deepEqual([typ, alg, Object.keys(jwk)], ['dpop+jwt', 'ES256', ['kty', 'crv', 'x', 'y']]);
  const key = await crypto.subtle.importKey('jwk', jwk, ALGORITHM, false, ['verify']);
  const hash = { name: 'ECDSA', hash: 'SHA-256' };
  assert.ok(await crypto.subtle.verify(hash, key, Buffer.from(signature, 'base64url'), Buffer.from(`${header}.${claims}`)));
  return JSON.parse(Buffer.from(claims, 'base64url'));
}

test('a proof is for one call', async () => {
  const signer = createSigner(newKeys);
  const call = { method: 'POST', url: new URL('https://chat.example/api/v1/chat/message?a=b#c'), token: 'a.b.c', body: '{"message":"grüße"}' };
  const claims = await read(await signer.sign(call));
  assert.deepEqual([claims.htm, claims.htu], ['POST', 'https://chat.example/api/v1/chat/message']);
  assert.deepEqual([claims.ath, claims.bh], [await sha256('a.b.c'), await sha256(call.body)]);
  assert.ok(Math.abs(claims.iat - Date.now() / 1000) < 5);
  const other = await read(await signer.sign({ ...call, body: undefined }));
  assert.equal(other.bh, await sha256(''));
  assert.ok(claims.jti.length === 22 && other.jti !== claims.jti);
});

test('without a key nothing is signed', async () => {
  const signer = createSigner(() => Promise.reject(new Error('storage is denied')));
  assert.deepEqual([await signer.publicKey(), await signer.sign({ method: 'GET', url: new URL('https://chat.example'), token: 'x' })], [null, null]);
});

/** An api whose edge gives these answers, one after the other, and what it was asked. */
function desk(keys, answers) {
  const asked = [];
  globalThis.fetch = async (url, init) => {
    asked.push({ path: url.pathname, ...init });
    const [status, body] = answers.shift();
    return new Response(JSON.stringify(body), { status });
  };
  let session = null;
  const store = { session: () => session, keepSession: (it) => (session = it) };
  const options = { base: new URL('https://chat.example/'), store, fingerprint: async () => 'f'.repeat(32), describe: () => ({}) };
  return { api: createApi({ ...options, signer: createSigner(keys) }), asked };
}

const made = (token_type) => [200, { session_id: 'sess_1_1', token: 'a.b.c', token_type }];

test('a session is bound to the key, and each of its calls is signed', async () => {
  const { api, asked } = desk(newKeys, [made('DPoP'), [202, {}]]);
  await api.cancel('message-1');
  assert.equal(JSON.parse(asked[0].body).public_key.crv, 'P-256');
  assert.equal(asked[0].headers.DPoP, undefined);
  assert.equal(asked[1].headers.Authorization, 'DPoP a.b.c');
  assert.equal((await read(asked[1].headers.DPoP)).bh, await sha256(asked[1].body));
});

test('an edge that binds nothing, or a browser without a key, gets bearer tokens', async () => {
  for (const keys of [newKeys, () => Promise.reject(new Error('none'))]) {
    const { api, asked } = desk(keys, [made('Bearer'), [202, {}]]);
    await api.cancel('message-1');
    assert.deepEqual([asked[1].headers.Authorization, asked[1].headers.DPoP], ['Bearer a.b.c', undefined]);
  }
});

test('a wrong clock is put right by the edge, once', async () => {
  const serverTime = new Date(Date.now() + 3_600_000).toISOString();
  const late = [401, { code: 'proof_invalid', server_time: serverTime }];
  const { api, asked } = desk(newKeys, [made('DPoP'), late, [202, {}]]);
  await api.cancel('message-1');
  const times = await Promise.all(asked.slice(1).map(async (it) => (await read(it.headers.DPoP)).iat));
  assert.ok(Math.abs(times[1] - times[0] - 3600) < 5, times.join());
  const again = desk(newKeys, [made('DPoP'), late, late, late]);
  await assert.rejects(again.api.cancel('message-1'), { code: 'proof_invalid' });
  assert.equal(again.asked.length, 4);
});

test('a call that the browser sent twice is signed anew', async () => {
  const { api, asked } = desk(newKeys, [made('DPoP'), [401, { code: 'proof_replayed' }], [202, {}]]);
  await api.cancel('message-1');
  assert.notEqual((await read(asked[1].headers.DPoP)).jti, (await read(asked[2].headers.DPoP)).jti);
});

test('a session whose key is gone is replaced', async () => {
  const { api, asked } = desk(newKeys, [made('DPoP'), [401, { code: 'proof_invalid' }], made('DPoP'), [202, {}]]);
  await api.cancel('message-1');
  assert.equal(asked[2].path, '/api/v1/session/create');
});
