// A client's engine and a server, joined by a test.
#pragma once

#include <gtest/gtest.h>
#include <mbedtls/ssl.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/certificates.h"
#include "support/tls_server.h"
#include "wire/tls_engine.h"
#include "wire/tls_source.h"

namespace berth::wire {

using test::Authority;
using test::Identity;
using test::TlsServer;
using test::TlsServerOptions;
using test::TlsService;
using test::Wish;

inline const std::vector<TlsCipher> kAllCiphers = {TlsCipher::aes_128_gcm, TlsCipher::aes_256_gcm,
                                                   TlsCipher::chacha20_poly1305};

inline const Authority& authority() {
  static const Authority it("CN=Test CA");
  return it;
}

// Of "server.test".
inline const Identity& server_identity() {
  static const Identity it = authority().issue({.names = {"server.test"}});
  return it;
}

// A folder with files for TlsSettings.
class TlsFiles {
 public:
  TlsFiles() {
    std::string name = (std::filesystem::temp_directory_path() / "berth-tls-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    write("ca.pem", authority().certificate());
  }
  ~TlsFiles() { std::filesystem::remove_all(folder_); }
  TlsFiles(const TlsFiles&) = delete;
  TlsFiles& operator=(const TlsFiles&) = delete;

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  // Replaces the file, as programs do that renew certificates. Answers its path.
  std::string write(const std::string& name, const std::string& text) const {
    const std::string fresh = path(name + ".new");
    std::ofstream(fresh) << text;
    std::filesystem::permissions(fresh, std::filesystem::perms(0600));
    std::filesystem::rename(fresh, path(name));
    return path(name);
  }
  TlsSettings settings() const { return {.ca = path("ca.pem")}; }

 private:
  std::filesystem::path folder_;
};

inline std::shared_ptr<const TlsContext> context_of(
    const TlsSettings& settings, const std::vector<TlsCipher>& ciphers = kAllCiphers) {
  TlsSource source(settings, ciphers);
  auto context = source.context();
  EXPECT_TRUE(context.ok()) << context.status();
  return context.ok() ? *context : nullptr;
}

inline std::string read_all(TlsEngine& engine) {
  std::string all;
  std::array<char, 5000> bytes;
  for (;;) {
    const TlsEngine::Read read = engine.read(bytes);
    if (read.got != TlsEngine::Got::bytes) return all;
    all.append(bytes.data(), read.size);
  }
}

// Takes what is to be sent.
inline std::string take(TlsEngine& engine) {
  std::string bytes(engine.to_send());
  engine.sent(bytes.size());
  return bytes;
}

// Feeds in pieces of that size; what the handshake makes of each goes into the engine's output.
inline TlsEngine::Shake feed_all(TlsEngine& engine, std::string_view bytes, size_t piece) {
  TlsEngine::Shake shake = TlsEngine::Shake::goes_on;
  while (!bytes.empty()) {
    const size_t fed = engine.feed(bytes.substr(0, piece));
    bytes.remove_prefix(fed);
    shake = engine.shake_hands();
    if (shake != TlsEngine::Shake::goes_on && fed == 0) break;
  }
  return shake;
}

// Both in turn, until nobody has anything to say.
inline TlsEngine::Shake shake_hands(TlsEngine& engine, TlsServer& server, size_t piece = 1 << 20) {
  TlsEngine::Shake shake = engine.shake_hands();
  for (;;) {
    const std::string to_server = take(engine);
    for (size_t at = 0; at < to_server.size(); at += piece) {
      server.feed(std::string_view(to_server).substr(at, piece));
      server.shake_hands();
    }
    const std::string to_client = server.take_output();
    if (!to_client.empty()) shake = feed_all(engine, to_client, piece);
    if (to_client.empty() && engine.to_send().empty()) return shake;
  }
}

}  // namespace berth::wire
