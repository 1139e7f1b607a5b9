#include "wire/tls_keys.h"

#include <cstring>

namespace berth::wire {

TlsKeys::~TlsKeys() {
  ::explicit_bzero(&send, sizeof send);
  ::explicit_bzero(&receive, sizeof receive);
}

}  // namespace berth::wire
