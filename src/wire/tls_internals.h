// What berth needs of mbedTLS 2.28 that no stable interface of it offers. Another version of
// mbedTLS changes this file, and no other.
#pragma once

#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "wire/tls_keys.h"

namespace berth::wire::mbed {

// Lets the handshakes of all engines with this configuration be caught.
void export_keys(mbedtls_ssl_config& config);

// While it lives, the keys that handshakes on this thread come to go to `keys`, but for cipher and
// sequences. Not nested.
class KeyCatcher {
 public:
  explicit KeyCatcher(TlsKeys& keys);
  ~KeyCatcher();
  KeyCatcher(const KeyCatcher&) = delete;
  KeyCatcher& operator=(const KeyCatcher&) = delete;
};

// Of the next record in either direction.
void read_sequences(const mbedtls_ssl_context& ssl, TlsKeys& keys);
// A part of a record, or of its content, waits in the context.
bool holds_input(const mbedtls_ssl_context& ssl);

bool has_shaken_hands(const mbedtls_ssl_context& ssl);
// Only a handshake that resumes nothing passes through it.
bool awaits_certificate(const mbedtls_ssl_context& ssl);
// The server has asked for our certificate.
bool asked_for_certificate(const mbedtls_ssl_context& ssl);
int suite_of(const mbedtls_ssl_context& ssl);
// The number of the fatal alert that has just been received.
int received_alert(const mbedtls_ssl_context& ssl);
// That the server has chosen: 1 for TLS 1.0, and so on.
int minor_version(const mbedtls_ssl_context& ssl);

// What is wrong with the certificate for which the server's Certificate message has just been
// refused as it could not be parsed; for people.
std::string describe_unparsed_certificate(const mbedtls_ssl_context& ssl);

// An address in the certificate's iPAddress names; 2.28 does not compare them.
std::vector<std::string> addresses_of(const mbedtls_x509_crt& certificate);

// Of an elliptic key; others are on none.
bool is_on_offered_curve(const mbedtls_ssl_config& config, const mbedtls_pk_context& key);

// Makes it so that threads may use the key at once: 2.28 adds a table to the group of a curve at
// its first use, without a lock.
void make_shareable(mbedtls_pk_context& key);
// Leaves the pages with the private parts out of core dumps.
void keep_out_of_core_dumps(const mbedtls_pk_context& key);

// A session is resumed by its ticket if it has one, else by its id.
std::string_view ticket_of(const mbedtls_ssl_session& session);
bool has_id(const mbedtls_ssl_session& session);
void drop_ticket(mbedtls_ssl_session& session);
// It was made no longer ago than `seconds`, and the server's certificate is still valid.
bool is_fresh(const mbedtls_ssl_session& session, int64_t seconds);

}  // namespace berth::wire::mbed
