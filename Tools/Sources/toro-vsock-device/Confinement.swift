import CHostShims
import VhostUser
import VsockDevice

extension VsockDeviceCommand {
    /// Keeps of this process's rights what the device needs from now on: every socket listens, and
    /// what comes from a guest or a client is about to be read.
    ///
    /// Root becomes a user that nobody else is, so that the device of one guest cannot reach
    /// another's; the number is from a range that systemd leaves unused (UIDS-GIDS.md). The name of
    /// a published Unix socket is taken away at the end, for which the user has to stay.
    func confine() throws(HostError) {
        let removesNames = publish.contains { if case .unix = $0.address { true } else { false } }
        let user = 0x7000_0000 | UInt32.random(in: 0..<1 << 27)
        guard toro_confine_device(user, removesNames ? 1 : 0) == 0 else {
            throw .system("cannot give up rights (this needs seccomp filters)")
        }
    }
}
