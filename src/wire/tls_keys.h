// TlsKeys: what the kernel must know to go on with a TLS 1.2 connection (net/ktls.h).
//
// Sources: RFC 5246 section 6.3, RFC 5288 section 3, RFC 7905 section 2.
#pragma once

#include <array>
#include <cstdint>

#include "base/tls.h"

namespace berth::wire {

struct TlsKeys {
  struct Direction {
    std::array<uint8_t, 32> key{};      // AES-128 has 16 of them
    std::array<uint8_t, 12> iv{};       // of GCM the first 4 bytes, the implicit part
    std::array<uint8_t, 8> sequence{};  // of the next record, big-endian
  };

  TlsCipher cipher = TlsCipher::aes_128_gcm;
  Direction send;
  Direction receive;

  TlsKeys() = default;
  TlsKeys(const TlsKeys&) = default;
  TlsKeys& operator=(const TlsKeys&) = default;
  ~TlsKeys();  // wipes them
};

}  // namespace berth::wire
