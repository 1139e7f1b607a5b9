// HttpConnect: a tunnel through an HTTP/1.1 proxy (RFC 9110, section 9.3.6), with Basic
// authentication (RFC 7617).
//
// The answer ends with its empty line, whatever a header says of a length.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "wire/proxy_handshake.h"

namespace berth::wire {

class HttpConnect final : public ProxyHandshake {
 public:
  HttpConnect(std::shared_ptr<const ProxyAccess> access, const Endpoint& server);

 private:
  void take(char c) override;
  std::string moment() const override;
  void judge();
  void turn_down(int status, const std::string& reason);

  const std::string request_;
  std::string status_line_;    // as much as has come
  bool judged_ = false;        // it has come wholly, and is no refusal
  bool interim_ = false;       // it was 1xx: another answer follows
  bool line_is_empty_ = true;  // so far, of the line after it
  size_t size_ = 0;            // of all that has come
};

}  // namespace berth::wire
