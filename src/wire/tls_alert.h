// Alerts of TLS in words, for people.
#pragma once

#include <string>

namespace berth::wire {

// "handshake_failure (40)", as RFC 5246 section 7.2 and its successors name it.
std::string name_of_alert(int number);

// What an alert of the server in the handshake is likely about: ": …", or "". `has_certificate`:
// we have one to show; `asked`: the server has asked for it.
std::string hint_of_alert(int number, bool has_certificate, bool asked);
// What its end of the connection is likely about, in the same way.
std::string hint_of_end(bool has_certificate, bool asked);

}  // namespace berth::wire
