/* OpenSSL's AES-256-XTS, called once per unit of 128 bytes with a new tweak: what flash encryption costs with a library call per
 * unit. One context and one key schedule for all; a buffer of 256 KiB; the bytes are reversed as the chip does it. The peer of
 * `cargo xtask bench esp`, to be linked with libcrypto alone.
 *
 *     openssl_units KEY(64 bytes) IN OUT
 *     openssl_units KEY(64 bytes)           64 MiB in memory; prints {"seconds"}
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Of <openssl/evp.h>, which a machine without OpenSSL's headers does not have. */
typedef struct evp_cipher_ctx_st EVP_CIPHER_CTX;
typedef struct evp_cipher_st EVP_CIPHER;
EVP_CIPHER_CTX *EVP_CIPHER_CTX_new(void);
const EVP_CIPHER *EVP_aes_256_xts(void);
int EVP_EncryptInit_ex(EVP_CIPHER_CTX *, const EVP_CIPHER *, void *, const unsigned char *, const unsigned char *);
int EVP_EncryptUpdate(EVP_CIPHER_CTX *, unsigned char *, int *, const unsigned char *, int);

enum { UNIT = 128, BUFFER = 1 << 18, TOTAL = 64 << 20 };

static void reversed(unsigned char *to, const unsigned char *from) {
    for (int word = 0; word < UNIT / 8; word++) {
        uint64_t value;
        memcpy(&value, from + UNIT - 8 - 8 * word, 8);
        value = __builtin_bswap64(value);
        memcpy(to + 8 * word, &value, 8);
    }
}

static int encrypt(EVP_CIPHER_CTX *context, uint32_t address, unsigned char *bytes, size_t len) {
    for (size_t at = 0; at < len; at += UNIT, address += UNIT) {
        unsigned char tweak[16] = {0}, plain[UNIT], cipher[UNIT];
        int written;
        memcpy(tweak, &address, sizeof address);
        reversed(plain, bytes + at);
        if (!EVP_EncryptInit_ex(context, NULL, NULL, NULL, tweak)) return 0;
        if (!EVP_EncryptUpdate(context, cipher, &written, plain, UNIT) || written != UNIT) return 0;
        reversed(bytes + at, cipher);
    }
    return 1;
}

static int in_memory(EVP_CIPHER_CTX *context, unsigned char *buffer) {
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (uint32_t address = 0; address < TOTAL; address += BUFFER)
        if (!encrypt(context, address, buffer, BUFFER)) return 1;
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("{\"seconds\": %.9f}\n", (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
    return 0;
}

int main(int count, char **arguments) {
    static unsigned char key[64], buffer[BUFFER];
    if (count != 2 && count != 4) return 2;
    FILE *key_file = fopen(arguments[1], "rb");
    if (!key_file || fread(key, 1, sizeof key, key_file) != sizeof key) return 1;
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    if (!EVP_EncryptInit_ex(context, EVP_aes_256_xts(), NULL, key, NULL)) return 1;
    if (count == 2) return in_memory(context, buffer);
    FILE *in = fopen(arguments[2], "rb"), *out = fopen(arguments[3], "wb");
    if (!in || !out) return 1;
    setvbuf(in, NULL, _IONBF, 0);
    setvbuf(out, NULL, _IONBF, 0);
    uint32_t address = 0;
    size_t len;
    while ((len = fread(buffer, 1, BUFFER, in)) > 0) {
        if (len % UNIT || !encrypt(context, address, buffer, len) || fwrite(buffer, 1, len, out) != len) return 1;
        address += len;
    }
    return fclose(out) != 0;
}
