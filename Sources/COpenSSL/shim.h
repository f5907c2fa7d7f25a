/* OpenSSL: libcrypto and libssl, and those of its macros that Swift cannot use by itself. */
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

static inline int hero_ssl_set_versions(SSL_CTX *context, int lowest, int highest) {
  return SSL_CTX_set_min_proto_version(context, lowest) && SSL_CTX_set_max_proto_version(context, highest);
}
static inline int hero_ssl_set_groups(SSL_CTX *context, const char *names) {
  return SSL_CTX_set1_groups_list(context, names);
}
static inline void hero_ssl_harden(SSL_CTX *context) {
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
}
/* A connection that rests gives its buffers back, some 33 KiB. */
static inline void hero_ssl_release_buffers(SSL_CTX *context) { SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS); }
/* Sessions are kept in tickets, which the client holds, and not here. */
static inline void hero_ssl_keep_no_sessions(SSL_CTX *context) {
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
}
static inline int hero_ssl_set_server_name(SSL *connection, const char *name) {
  return (int)SSL_set_tlsext_host_name(connection, name);
}

static inline long hero_bio_bytes(BIO *memory, char **bytes) { return BIO_get_mem_data(memory, bytes); }

static inline int hero_print_name(BIO *output, const X509_NAME *name) {
  return X509_NAME_print_ex(output, name, 0, XN_FLAG_ONELINE);
}

static inline EVP_PKEY *hero_new_p256_key(void) { return EVP_EC_gen("P-256"); }
static inline STACK_OF(X509) *hero_new_chain(void) { return sk_X509_new_null(); }
static inline int hero_chain_append(STACK_OF(X509) *chain, X509 *certificate) { return sk_X509_push(chain, certificate); }
/* What the peer of a connection has shown, to be freed; a client's own certificate is not part of it at a server. */
static inline STACK_OF(X509) *hero_peer_chain(SSL *connection) {
  STACK_OF(X509) *chain = SSL_get_peer_cert_chain(connection);
  return chain ? X509_chain_up_ref(chain) : sk_X509_new_null();
}
static inline void hero_free_chain(STACK_OF(X509) *chain) { sk_X509_pop_free(chain, X509_free); }
