// Certificates in words, for people: whose they are, and what is wrong with them. What others put
// into them is shown escaped and bounded.
#pragma once

#include <mbedtls/x509_crt.h>

#include <cstdint>
#include <string>

namespace berth::wire {

// In quotes.
std::string subject_of(const mbedtls_x509_crt& certificate);

// What is wrong by the `flags` of mbedTLS with a certificate that was sent as the `depth`-th of its
// chain. `name` was wanted of the first one; `ca` is the setting that says whom to trust.
std::string fault_of(const mbedtls_x509_crt& certificate, int depth, uint32_t flags,
                     const std::string& name, const std::string& ca);

// What mbedTLS's error means, and its number.
std::string words_of_error(int error);

}  // namespace berth::wire
