"""Who may lease what, and whose connections are whose."""

import os

import pytest

import berth
from processes import NOBODY
from upstream import ask

pytestmark = pytest.mark.usefixtures("as_root")
DAEMON = 1  # a second ordinary user


def shared(upstream, users, **settings):
    return {"echo": {"endpoints": [upstream.url], "allow_users": users, "max_connections": 1, **settings}}


def system(berthd, pools, **settings):
    """A daemon for all users of the host."""
    return berthd(pools, user=False, **settings)


def use(parent, path, key="echo"):
    """The number of the connection that this process got, or what it was told instead."""
    try:
        with berth.Session(path) as session, session.lease(key) as lease:
            number = ask(lease.sock)
        return number
    except berth.Error as error:
        return type(error).__name__, str(error)


def test_a_socket_without_permission_is_not_reached(berthd, upstream, child):
    daemon = system(berthd, shared(upstream, [NOBODY]), lease_socket_mode="0600")
    kind, words = child(use, daemon.path, uid=NOBODY).result()
    assert kind == "NotPermitted"
    assert daemon.path in words and "Permission denied" in words


@pytest.mark.parametrize("mode", ["0600", "0660", "0666"])
def test_the_socket_has_the_mode_that_was_asked_for(berthd, mode):
    daemon = system(berthd, {}, lease_socket_mode=mode)
    assert os.stat(daemon.path).st_mode & 0o777 == int(mode, 8)


def test_a_user_who_is_not_listed_is_told_so(berthd, upstream, child):
    daemon = system(berthd, shared(upstream, [0]))
    kind, words = child(use, daemon.path, uid=NOBODY).result()
    assert kind == "NotPermitted"
    assert "uid 65534 (nobody) may not" in words and "echo" in words
    assert child(use, daemon.path, uid=0).result() == 1


def test_without_a_list_not_even_root_may(berthd, upstream):
    session = system(berthd, {"echo": {"endpoints": [upstream.url]}}).session()
    with pytest.raises(berth.NotPermitted, match=r"uid 0 \(root\) may not"):
        session.lease("echo")
    assert session.keys() == []


def test_users_are_named_or_numbered(berthd, upstream, child):
    daemon = system(berthd, shared(upstream, ["nobody", DAEMON]))
    for uid in NOBODY, DAEMON:
        assert isinstance(child(use, daemon.path, uid=uid).result(), int)
    assert child(use, daemon.path, uid=0).result()[0] == "NotPermitted"


def test_a_group_may_lease_whether_it_is_the_programs_first_or_another(berthd, upstream, child):
    daemon = system(berthd, shared(upstream, [], allow_groups=["daemon", 4711]))
    assert isinstance(child(use, daemon.path, uid=DAEMON).result(), int)
    assert isinstance(child(use, daemon.path, uid=NOBODY, groups=[5, 4711, 6]).result(), int)
    kind, words = child(use, daemon.path, uid=NOBODY, groups=[5, 6]).result()
    assert kind == "NotPermitted"
    assert "uid 65534 (nobody) may not" in words and "allow_groups" in words


def test_a_group_that_was_taken_away_counts_for_sessions_to_come(berthd, upstream, child):
    daemon = system(berthd, shared(upstream, [], allow_groups=[4711]))
    daemon.reload(shared(upstream, [], allow_groups=[4712]))
    assert child(use, daemon.path, uid=NOBODY, groups=[4711]).result()[0] == "NotPermitted"
    assert isinstance(child(use, daemon.path, uid=NOBODY, groups=[4712]).result(), int)


def list_keys(parent, path):
    with berth.Session(path) as session:
        return session.keys()


def test_each_user_sees_the_keys_that_are_his(berthd, upstream, child):
    pools = {name: {"endpoints": [upstream.url], "allow_users": users}
             for name, users in {"a": [0], "b": [0, NOBODY], "c": [NOBODY]}.items()}
    daemon = system(berthd, pools)
    assert child(list_keys, daemon.path, uid=0).result() == ["a", "b"]
    assert child(list_keys, daemon.path, uid=NOBODY).result() == ["b", "c"]


def test_an_unknown_key_is_not_answered_with_a_key_of_others(berthd, upstream, child):
    daemon = system(berthd, {"secret-payroll": {"endpoints": [upstream.url], "allow_users": [0]}})
    kind, words = child(use, daemon.path, "secret-payrol", uid=NOBODY).result()
    assert kind == "NoSuchKey"
    assert "secret-payroll" not in words


def test_two_users_never_share_a_connection(berthd, upstream, child):
    daemon = system(berthd, shared(upstream, [DAEMON, NOBODY]))
    uids = [NOBODY, NOBODY, DAEMON, DAEMON, NOBODY, DAEMON]
    numbers = [child(use, daemon.path, uid=uid).result() for uid in uids]
    assert numbers == [1, 1, 2, 2, 3, 4]


def test_two_users_of_different_connections_keep_their_own(berthd, upstream, child):
    daemon = system(berthd, shared(upstream, [DAEMON, NOBODY], max_connections=4))
    numbers = [child(use, daemon.path, uid=uid).result() for uid in [NOBODY, DAEMON] * 4]
    assert numbers == [1, 2] * 4


def test_who_trust_each_other_may_share_by_socket(berthd, upstream, child):
    daemon = system(berthd, shared(upstream, [DAEMON, NOBODY], share="socket"))
    numbers = [child(use, daemon.path, uid=uid).result() for uid in [NOBODY, DAEMON] * 3]
    assert set(numbers) == {1}


def test_ones_own_daemon_serves_nobody_else(berthd, upstream, child):
    daemon = berthd(lease_socket_mode="0666")
    kind, words = child(use, daemon.path, upstream.url, uid=NOBODY).result()
    assert kind == "NotPermitted" and "may not" in words


def use_many(parent, path, sessions):
    """How many sessions this user could open."""
    opened = []
    try:
        while len(opened) < sessions:
            opened.append(berth.Session(path))
    except berth.TooManySessions as error:
        parent.say((len(opened), str(error)))
    parent.hear()


def test_one_user_cannot_take_all_sessions(berthd, upstream, child):
    daemon = system(berthd, shared(upstream, [0, NOBODY]), max_sessions_per_user=5)
    greedy = child(use_many, daemon.path, 100, uid=NOBODY)
    count, words = greedy.hear()
    assert count == 5
    assert "uid 65534 (nobody) has 5 sessions already" in words
    assert child(use, daemon.path, uid=0).result() == 1
