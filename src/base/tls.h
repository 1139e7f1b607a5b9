// What TLS a pool speaks with its servers, as its settings say (berthd.toml(5), "TLS").
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace berth {

enum class TlsVerify : uint8_t {
  full,  // the certificate is for the name that is wanted, and trusted authorities vouch for it
  chain_only,  // they do, whatever its name
  none,
};

struct TlsSettings {
  std::string ca = "system";  // whom to trust: a PEM file, a folder of them, or the system's store
  std::string certificate = {};  // PEM file: ours, then those that lead to its issuer; "": none
  std::string private_key = {};  // its PEM file; "" with the certificate
  std::string server_name = {};  // wanted in the server's certificate; "": the endpoint's host
  TlsVerify verify = TlsVerify::full;
  std::vector<std::string> alpn = {};  // protocols in order of preference; empty: none is asked for

  friend bool operator==(const TlsSettings&, const TlsSettings&) = default;
};

// All have ECDHE before them, and TLS 1.2 around them.
enum class TlsCipher : uint8_t { aes_128_gcm, aes_256_gcm, chacha20_poly1305 };

}  // namespace berth
