#include "wire/tls_alert.h"

#include <array>

namespace berth::wire {
namespace {

struct Alert {
  int number;
  const char* name;
};

// The IANA's registry "TLS Alerts", as far as TLS 1.2 knows them, and what servers of TLS 1.3 add.
constexpr std::array kAlerts = std::to_array<Alert>({
    {0, "close_notify"},
    {10, "unexpected_message"},
    {20, "bad_record_mac"},
    {21, "decryption_failed"},
    {22, "record_overflow"},
    {30, "decompression_failure"},
    {40, "handshake_failure"},
    {41, "no_certificate"},
    {42, "bad_certificate"},
    {43, "unsupported_certificate"},
    {44, "certificate_revoked"},
    {45, "certificate_expired"},
    {46, "certificate_unknown"},
    {47, "illegal_parameter"},
    {48, "unknown_ca"},
    {49, "access_denied"},
    {50, "decode_error"},
    {51, "decrypt_error"},
    {60, "export_restriction"},
    {70, "protocol_version"},
    {71, "insufficient_security"},
    {80, "internal_error"},
    {86, "inappropriate_fallback"},
    {90, "user_canceled"},
    {100, "no_renegotiation"},
    {109, "missing_extension"},
    {110, "unsupported_extension"},
    {111, "certificate_unobtainable"},
    {112, "unrecognized_name"},
    {113, "bad_certificate_status_response"},
    {114, "bad_certificate_hash_value"},
    {115, "unknown_psk_identity"},
    {116, "certificate_required"},
    {120, "no_application_protocol"},
});

constexpr const char* kNoneToShow =
    ": it wants a certificate of ours, and none is set (certificate)";

}  // namespace

std::string name_of_alert(int number) {
  for (const Alert& alert : kAlerts) {
    if (alert.number == number) return alert.name + (" (" + std::to_string(number) + ")");
  }
  return std::to_string(number);
}

std::string hint_of_alert(int number, bool has_certificate, bool asked) {
  switch (number) {
    case 40:
    case 71:
      if (asked && !has_certificate) return kNoneToShow;
      return ": it has no cipher or curve in common with what berth offers, which is ECDHE with "
             "AES-GCM or ChaCha20-Poly1305";
    case 42:
    case 43:
    case 44:
    case 45:
    case 46:
    case 48:
    case 49:
    case 116:
      if (!has_certificate) return asked ? kNoneToShow : "";
      return ": it does not accept our certificate (certificate)";
    case 70:
      return ": it wants another version of TLS than 1.2, which is the one that berth speaks";
    case 112: return ": it knows no host of the name that was wanted (server_name)";
    case 120: return ": it speaks none of the protocols that were offered (alpn)";
    default: return "";
  }
}

std::string hint_of_end(bool has_certificate, bool asked) {
  return asked && !has_certificate ? kNoneToShow : "";
}

}  // namespace berth::wire
