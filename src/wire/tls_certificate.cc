#include "wire/tls_certificate.h"

#include <mbedtls/error.h>
#include <mbedtls/oid.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "wire/shown.h"
#include "wire/tls_internals.h"

namespace berth::wire {
namespace {

// Those of RFC 5280, section 4.2.1.6, and the common name where there is none.
std::vector<std::string> names_in(const mbedtls_x509_crt& certificate) {
  const auto text_of = [](const mbedtls_x509_buf& bytes) {
    return shown({reinterpret_cast<const char*>(bytes.p), bytes.len}, Part::first, {});
  };
  std::vector<std::string> names;
  if ((certificate.ext_types & MBEDTLS_X509_EXT_SUBJECT_ALT_NAME) == 0) {
    for (const auto* part = &certificate.subject; part != nullptr; part = part->next) {
      if (MBEDTLS_OID_CMP(MBEDTLS_OID_AT_CN, &part->oid) == 0) names.push_back(text_of(part->val));
    }
    return names;
  }
  for (const auto* name = &certificate.subject_alt_names; name != nullptr; name = name->next) {
    const int kind = name->buf.tag & MBEDTLS_ASN1_TAG_VALUE_MASK;
    if (kind == MBEDTLS_X509_SAN_DNS_NAME) names.push_back(text_of(name->buf));
  }
  for (const std::string& address : mbed::addresses_of(certificate)) names.push_back(address);
  return names;
}

std::string list_of_names(const mbedtls_x509_crt& certificate) {
  const std::vector<std::string> names = names_in(certificate);
  if (names.empty()) return "no name";
  std::string text;
  const size_t count = std::min(names.size(), kMaxCertificateNamesShown);
  for (size_t i = 0; i < count; ++i) text += (i > 0 ? ", " : "") + names[i];
  if (names.size() > count) text += " and " + std::to_string(names.size() - count) + " more";
  return text;
}

std::string date_of(const mbedtls_x509_time& time) {
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02d-%02d %02d:%02d:%02d UTC", time.year, time.mon,
                time.day, time.hour, time.min, time.sec);
  return text;
}

std::string quoted_name(const mbedtls_x509_name& name) {
  std::array<char, 512> text;
  const int size = mbedtls_x509_dn_gets(text.data(), text.size(), &name);
  if (size < 0) return "with a very long name";
  if (size == 0) return "without a name";
  return '"' + std::string(text.data(), static_cast<size_t>(size)) + '"';
}

bool is_own_issuer(const mbedtls_x509_crt& certificate) {
  const mbedtls_x509_buf& subject = certificate.subject_raw;
  const mbedtls_x509_buf& issuer = certificate.issuer_raw;
  return subject.len == issuer.len && std::equal(subject.p, subject.p + subject.len, issuer.p);
}

std::string distrust(const mbedtls_x509_crt& certificate, const std::string& ca) {
  const std::string whom = "those that are trusted (ca = \"" + ca + "\")";
  if (is_own_issuer(certificate)) return "is self-signed, and not among " + whom;
  return "was issued by " + quoted_name(certificate.issuer) + ", which is not among " + whom +
         ", or has not signed it; and no further certificate leads from there to one of them";
}

struct Words {
  uint32_t flag;
  const char* text;
};

constexpr std::array kOtherFaults = std::to_array<Words>({
    {MBEDTLS_X509_BADCERT_REVOKED, "has been revoked"},
    {MBEDTLS_X509_BADCERT_KEY_USAGE, "is not for signing handshakes (keyUsage)"},
    {MBEDTLS_X509_BADCERT_EXT_KEY_USAGE, "is not for servers (extendedKeyUsage)"},
    {MBEDTLS_X509_BADCERT_NS_CERT_TYPE, "is not for servers (nsCertType)"},
    {MBEDTLS_X509_BADCERT_BAD_MD, "is signed with a hash that is no longer accepted"},
    {MBEDTLS_X509_BADCERT_BAD_PK, "is signed with an algorithm that is not accepted"},
    {MBEDTLS_X509_BADCERT_BAD_KEY,
     "has a key that is not accepted: RSA must have 2048 bits or more, and a server's ECDSA be on "
     "P-256 or P-384"},
});

}  // namespace

std::string subject_of(const mbedtls_x509_crt& certificate) {
  return quoted_name(certificate.subject);
}

std::string fault_of(const mbedtls_x509_crt& certificate, int depth, uint32_t flags,
                     const std::string& name, const std::string& ca) {
  std::vector<std::string> faults;
  if ((flags & MBEDTLS_X509_BADCERT_EXPIRED) != 0) {
    faults.push_back("expired on " + date_of(certificate.valid_to));
  }
  if ((flags & MBEDTLS_X509_BADCERT_FUTURE) != 0) {
    faults.push_back("is not valid before " + date_of(certificate.valid_from));
  }
  if ((flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED) != 0) faults.push_back(distrust(certificate, ca));
  if ((flags & MBEDTLS_X509_BADCERT_CN_MISMATCH) != 0) {
    faults.push_back("is not for " + name + ", but for " + list_of_names(certificate));
  }
  for (const Words& words : kOtherFaults) {
    if ((flags & words.flag) != 0) faults.emplace_back(words.text);
  }
  if (faults.empty()) faults.push_back("is not accepted (flags " + std::to_string(flags) + ")");
  std::string text =
      (depth == 0 ? "the server's certificate " : "the certificate ") + subject_of(certificate);
  for (size_t i = 0; i < faults.size(); ++i) text += (i > 0 ? ", and " : " ") + faults[i];
  return text;
}

std::string words_of_error(int error) {
  char text[160];
  mbedtls_strerror(error, text, sizeof text);
  char number[16];
  std::snprintf(number, sizeof number, " (-0x%04x)", static_cast<unsigned>(-error));
  return std::string(text) + number;
}

}  // namespace berth::wire
