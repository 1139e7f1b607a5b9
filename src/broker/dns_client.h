// DnsClient: asks hosts(5), and then the name servers of resolv.conf(5), on the loop. The only code
// that knows c-ares.
//
// Loop thread only. It follows a resolv.conf that changes: what is asked from then on goes to its
// servers; what is under way ends with those that it was put to.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/endpoint.h"
#include "loop/loop.h"
#include "net/answer.h"

namespace berth::broker {

class DnsClient {
 public:
  explicit DnsClient(loop::Loop& loop, std::string resolv_conf = "/etc/resolv.conf");
  // What is under way is never answered.
  ~DnsClient();

  // Addresses of IPv6 stand first if this host has a route to them. `done` is called once, perhaps
  // from within ask(). Requires: a TCP endpoint that is no literal.
  using Done = std::function<void(net::Answer)>;
  void ask(const Endpoint& endpoint, Done done);

 private:
  class Channel;

  Channel& channel();
  void ask_host(Channel& channel, const std::string& host, uint16_t port, Done done);
  void ask_service(Channel& channel, const std::string& name, Done done);

  loop::Loop& loop_;
  const std::string resolv_conf_;
  // Made when they are needed, since most daemons leave names to the system.
  std::unique_ptr<Channel> hosts_;             // hosts(5) alone
  std::unique_ptr<Channel> current_;           // name servers
  std::vector<std::unique_ptr<Channel>> old_;  // of earlier versions of resolv.conf, not yet done
};

}  // namespace berth::broker
