<?php
// Tells Frontdesk who is signed in. PHP 7.4 or newer, nothing to install.
//
// In the shop:   $token = frontdesk_identity_token(getenv('IDENTITY_SECRET'), 'customer-17', ['name' => 'Ada']);
// To try it:     IDENTITY_SECRET=... php sign.php customer-17 '{"name":"Ada"}' [site]

/** @param array<string, mixed> $claims what of the customer n8n shall know */
function frontdesk_identity_token(string $secret, string $customer, array $claims = [], string $site = 'default'): string
{
    $encode = fn (string $bytes): string => rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
    $json = fn (array $part): string => json_encode($part, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE);
    $now = time();
    // What stands first wins: a claim can't replace these.
    $payload = ['sub' => $customer, 'aud' => $site, 'iat' => $now, 'exp' => $now + 300] + $claims;
    $message = $encode($json(['alg' => 'HS256', 'typ' => 'JWT'])) . '.' . $encode($json($payload));
    return $message . '.' . $encode(hash_hmac('sha256', $message, $secret, true));
}

if (PHP_SAPI === 'cli' && realpath($_SERVER['SCRIPT_FILENAME']) === __FILE__) {
    $claims = json_decode($argv[2] ?? '{}', true, 16, JSON_THROW_ON_ERROR);
    echo frontdesk_identity_token((string) getenv('IDENTITY_SECRET'), $argv[1], $claims, $argv[3] ?? 'default'), "\n";
}
