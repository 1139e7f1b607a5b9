// Certificates for tests, made in memory with mbedTLS. What fails ends the process.
#pragma once

#include <string>
#include <vector>

namespace berth::test {

// In PEM.
struct Identity {
  std::string certificate;  // with those that lead to its issuer
  std::string key;
};

// What a certificate shall say.
struct Wish {
  std::string subject = "CN=server.test";
  std::vector<std::string> names = {};      // dNSName
  std::vector<std::string> addresses = {};  // iPAddress
  std::string not_before = "20200101000000";
  std::string not_after = "20990101000000";
  bool rsa = false;
  bool authority = false;
  bool for_clients_only = false;    // extendedKeyUsage
  bool critical_extension = false;  // one that nobody knows
};

class Authority {
 public:
  explicit Authority(const std::string& subject);

  std::string certificate() const { return own_.certificate; }
  Identity issue(const Wish& wish) const;
  // Another one, that this one vouches for.
  Authority issue_authority(const std::string& subject) const;

 private:
  Authority(std::string subject, Identity own, std::string path);

  std::string subject_;
  Identity own_;
  std::string path_;  // certificates from its own one up, less the highest
};

Identity self_signed(const Wish& wish);

}  // namespace berth::test
