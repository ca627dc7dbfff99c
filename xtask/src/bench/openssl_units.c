/* OpenSSL's AES-256-XTS, called once per unit of 128 bytes with a new tweak: what flash encryption costs with a library call per
 * unit. One context and one key schedule for all; a buffer of 256 KiB; the bytes are reversed as the chip does it. The peer of
 * `cargo xtask bench esp`, to be linked with libcrypto alone.
 *
 *     openssl_units KEY(64 bytes) IN OUT
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Of <openssl/evp.h>, which a machine without OpenSSL's headers does not have. */
typedef struct evp_cipher_ctx_st EVP_CIPHER_CTX;
typedef struct evp_cipher_st EVP_CIPHER;
EVP_CIPHER_CTX *EVP_CIPHER_CTX_new(void);
const EVP_CIPHER *EVP_aes_256_xts(void);
int EVP_EncryptInit_ex(EVP_CIPHER_CTX *, const EVP_CIPHER *, void *, const unsigned char *, const unsigned char *);
int EVP_EncryptUpdate(EVP_CIPHER_CTX *, unsigned char *, int *, const unsigned char *, int);

enum { UNIT = 128, BUFFER = 1 << 18 };

static void reversed(unsigned char *to, const unsigned char *from) {
    for (int word = 0; word < UNIT / 8; word++) {
        uint64_t value;
        memcpy(&value, from + UNIT - 8 - 8 * word, 8);
        value = __builtin_bswap64(value);
        memcpy(to + 8 * word, &value, 8);
    }
}

int main(int count, char **arguments) {
    static unsigned char key[64], buffer[BUFFER];
    if (count != 4) return 2;
    FILE *key_file = fopen(arguments[1], "rb"), *in = fopen(arguments[2], "rb"), *out = fopen(arguments[3], "wb");
    if (!key_file || !in || !out || fread(key, 1, sizeof key, key_file) != sizeof key) return 1;
    setvbuf(in, NULL, _IONBF, 0);
    setvbuf(out, NULL, _IONBF, 0);
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    if (!EVP_EncryptInit_ex(context, EVP_aes_256_xts(), NULL, key, NULL)) return 1;
    uint32_t address = 0;
    size_t len;
    while ((len = fread(buffer, 1, BUFFER, in)) > 0) {
        if (len % UNIT) return 1;
        for (size_t at = 0; at < len; at += UNIT, address += UNIT) {
            unsigned char tweak[16] = {0}, plain[UNIT], cipher[UNIT];
            int written;
            memcpy(tweak, &address, sizeof address);
            reversed(plain, buffer + at);
            if (!EVP_EncryptInit_ex(context, NULL, NULL, NULL, tweak)) return 1;
            if (!EVP_EncryptUpdate(context, cipher, &written, plain, UNIT) || written != UNIT) return 1;
            reversed(buffer + at, cipher);
        }
        if (fwrite(buffer, 1, len, out) != len) return 1;
    }
    return fclose(out) != 0;
}
