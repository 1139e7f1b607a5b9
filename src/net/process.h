// Names for numbers, for people who read logs and error messages. Never proof of anything.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace berth::net {

// /proc/PID/comm, at most 15 bytes, unprintable ones as '?'; "?" if there is no such process.
std::string command_of(int32_t pid);

// The groups that a login of this user has: the primary one first; none if nobody has the uid. May
// block in nsswitch.
std::vector<uint32_t> groups_of(uint32_t uid);

// The login name, or the number if there is none. May block in nsswitch (LDAP): not for the path
// of a grant.
std::string user_name(uint32_t uid);

}  // namespace berth::net
