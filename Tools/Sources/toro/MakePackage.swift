import ArgumentParser
import Foundation
import Launcher

struct MakePackage: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "package",
        abstract: "Makes a tarball of the toro that runs images without Swift.",
        discussion: """
            The tarball holds toro and what it starts, for Linux on x86-64 with glibc 2.35 or later: \
            Debian 12, Ubuntu 22.04. There it runs images that toro build -o has made; QEMU and \
            virtiofsd are the distribution's. The same sources, toolchain and libraries give the same \
            bytes, wherever they were built.
            """)

    @Option(
        name: .shortAndLong,
        help: "Where the tarball goes: a file, or a folder that exists; by default this folder.")
    var output = "."

    func run() throws {
        try Toro.reporting {
            let root = try Toro.root
            guard let own = realPath("/proc/self/exe") else {
                throw LaunchError("/proc is not there, which says where toro is")
            }
            let package = ToolPackage(
                programs: (own as NSString).deletingLastPathComponent, root: root,
                version: Toro.version)
            let path = try package.write(to: output)
            let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int ?? 0
            print("\(path): \(size) bytes")
            return 0
        }
    }
}
