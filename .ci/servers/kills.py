"""Kills the program and the server in the middle of a load, again and again, until it is done."""
import signal
import subprocess
import time

import hapiserver
import world
from loads import zeros
from world import check, note


def killed(hapi):
    ours, theirs, claims = world.sizes["kills"], world.sizes["server_kills"], world.sizes["kill_claims"]
    others, turn, k = hapi.ready(), 0, Kills(hapi, ours, theirs, max(2.0, claims / 100 / (ours + theirs)))  # about so many fit into one load
    while k.left() > 0:
        turn += 1
        if turn > 12:
            check(False, f"only {k.done} kills of ours and {k.downs} of the server fit into {turn - 1} loads")
            break
        s, runs, code = world.Set(f"killed-{turn}", hapi.base, [world.synth(claims, 52)]), 0, None
        while code != 0:
            runs += 1
            if runs > 3 * (ours + theirs) + 10:
                raise world.Broken(f"the load is not done after {runs} runs: {tail(s)}")
            p = world.start(world.program, *s.command(s.extracts[0], "--manifest", world.path(s.name + ".json")), log=s.name + ".log")
            code = k.run(p)
            check(code in (None, 0, 1, 3), f"a load ended with {code}: {tail(s)}")
        have = hapiserver.compare(f"killed, load {turn}", hapi.base, s.reference(), others)
        zeros(f"killed, load {turn}", s, others)
        others += len(have)
        note(f"load {turn}: {runs} runs; so far {k.done} kills of ours and {k.downs} of the server, {k.outlived} of which a load outlived; "
             f"{len(have)} resources as in the store, all in version 1")


class Kills:
    def __init__(self, hapi, ours, theirs, each):
        self.hapi, self.ours, self.theirs, self.each = hapi, ours, theirs, each
        self.done = self.downs = self.outlived = 0

    def left(self):
        return self.ours - self.done + self.theirs - self.downs

    def run(self, p):
        """Lets a load run among kills. Returns its exit code, None if it was killed."""
        while self.left() > 0:
            if world.dice.random() < 0.8:
                sending(self.hapi, p)
            try:
                code = p.wait(world.dice.uniform(0.1, self.each))
                break
            except subprocess.TimeoutExpired:
                pass
            if world.dice.random() * self.left() >= self.theirs - self.downs:
                world.end(p, signal.SIGKILL)
                self.done += 1
                return None
            self.hapi.kill()
            self.downs += 1
            time.sleep(world.dice.uniform(0, 2))
            self.hapi.up()
            self.outlived += p.poll() is None
        else:
            code = p.wait(3600)
        world.running.remove(p)
        return code


def sending(hapi, p):
    """Waits until a load has sent a bundle."""
    before, until = len(hapi.log()), time.time() + 120
    while len(hapi.log()) == before and p.poll() is None and time.time() < until:
        time.sleep(0.1)


def tail(s):
    with open(world.path(s.name + ".log"), errors="replace") as f:
        return f.read()[-800:]
