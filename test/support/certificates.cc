#include "support/certificates.h"

#include <arpa/inet.h>
#include <mbedtls/certs.h>
#include <mbedtls/ecp.h>
#include <mbedtls/oid.h>
#include <mbedtls/x509_crt.h>
#include <sys/random.h>

#include <array>
#include <utility>

#include "base/check.h"

namespace berth::test {
namespace {

int random_bytes(void*, unsigned char* out, size_t size) {
  return getrandom(out, size, 0) == static_cast<ssize_t>(size) ? 0 : -1;
}

void must(int error) {
  BERTH_CHECK(error >= 0, "certificates can be made");
}

class Key {
 public:
  explicit Key(const std::string& pem) {
    mbedtls_pk_init(&key_);
    must(mbedtls_pk_parse_key(&key_, reinterpret_cast<const unsigned char*>(pem.c_str()),
                              pem.size() + 1, nullptr, 0));
  }
  Key() {
    mbedtls_pk_init(&key_);
    must(mbedtls_pk_setup(&key_, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)));
    must(mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(key_), random_bytes, nullptr));
  }
  ~Key() { mbedtls_pk_free(&key_); }
  Key(const Key&) = delete;
  Key& operator=(const Key&) = delete;

  mbedtls_pk_context* get() { return &key_; }
  std::string pem() {
    std::array<unsigned char, 16384> text;
    must(mbedtls_pk_write_key_pem(&key_, text.data(), text.size()));
    return reinterpret_cast<const char*>(text.data());
  }

 private:
  mbedtls_pk_context key_;
};

// DER, for fewer than 128 bytes.
std::string tagged(unsigned char tag, const std::string& content) {
  BERTH_CHECK(content.size() < 128, "short forms only");
  return std::string{static_cast<char>(tag), static_cast<char>(content.size())} + content;
}

std::string alternative_names(const Wish& wish) {
  std::string names;
  for (const std::string& name : wish.names) names += tagged(0x82, name);
  for (const std::string& address : wish.addresses) {
    char bytes[16];
    const bool v4 = inet_pton(AF_INET, address.c_str(), bytes) == 1;
    BERTH_CHECK(v4 || inet_pton(AF_INET6, address.c_str(), bytes) == 1, "an address");
    names += tagged(0x87, std::string(bytes, v4 ? 4 : 16));
  }
  return tagged(0x30, names);
}

void extend(mbedtls_x509write_cert& certificate, const std::string& oid, int critical,
            const std::string& value) {
  must(mbedtls_x509write_crt_set_extension(&certificate, oid.data(), oid.size(), critical,
                                           reinterpret_cast<const unsigned char*>(value.data()),
                                           value.size()));
}

std::string write(const Wish& wish, Key& key, const std::string& issuer, Key& issuers_key) {
  mbedtls_x509write_cert certificate;
  mbedtls_mpi serial;
  mbedtls_x509write_crt_init(&certificate);
  mbedtls_mpi_init(&serial);
  must(mbedtls_mpi_fill_random(&serial, 12, random_bytes, nullptr));
  mbedtls_x509write_crt_set_version(&certificate, MBEDTLS_X509_CRT_VERSION_3);
  mbedtls_x509write_crt_set_md_alg(&certificate, MBEDTLS_MD_SHA256);
  mbedtls_x509write_crt_set_subject_key(&certificate, key.get());
  mbedtls_x509write_crt_set_issuer_key(&certificate, issuers_key.get());
  must(mbedtls_x509write_crt_set_serial(&certificate, &serial));
  must(mbedtls_x509write_crt_set_subject_name(&certificate, wish.subject.c_str()));
  must(mbedtls_x509write_crt_set_issuer_name(&certificate, issuer.c_str()));
  must(mbedtls_x509write_crt_set_validity(&certificate, wish.not_before.c_str(),
                                          wish.not_after.c_str()));
  must(mbedtls_x509write_crt_set_basic_constraints(&certificate, wish.authority ? 1 : 0, -1));
  if (!wish.names.empty() || !wish.addresses.empty()) {
    extend(certificate, MBEDTLS_OID_SUBJECT_ALT_NAME, 0, alternative_names(wish));
  }
  if (wish.for_clients_only) {
    extend(certificate, MBEDTLS_OID_EXTENDED_KEY_USAGE, 0,
           tagged(0x30, tagged(0x06, MBEDTLS_OID_CLIENT_AUTH)));
  }
  if (wish.critical_extension) extend(certificate, "\x2a\x03\x04\x05", 1, tagged(0x04, "?"));
  std::array<unsigned char, 16384> text;
  must(mbedtls_x509write_crt_pem(&certificate, text.data(), text.size(), random_bytes, nullptr));
  mbedtls_mpi_free(&serial);
  mbedtls_x509write_crt_free(&certificate);
  return reinterpret_cast<const char*>(text.data());
}

std::string new_key(const Wish& wish) {
  // To make one of RSA takes a second.
  return wish.rsa ? std::string(mbedtls_test_srv_key_rsa) : Key().pem();
}

}  // namespace

Identity self_signed(const Wish& wish) {
  Key key(new_key(wish));
  return {write(wish, key, wish.subject, key), key.pem()};
}

Authority::Authority(const std::string& subject)
    : subject_(subject), own_(self_signed({.subject = subject, .authority = true})) {}

Authority::Authority(std::string subject, Identity own, std::string path)
    : subject_(std::move(subject)), own_(std::move(own)), path_(std::move(path)) {}

Identity Authority::issue(const Wish& wish) const {
  Key key(new_key(wish));
  Key own(own_.key);
  return {write(wish, key, subject_, own) + path_, key.pem()};
}

Authority Authority::issue_authority(const std::string& subject) const {
  Identity other = issue({.subject = subject, .authority = true});
  std::string path = other.certificate;
  return {subject, std::move(other), std::move(path)};
}

}  // namespace berth::test
