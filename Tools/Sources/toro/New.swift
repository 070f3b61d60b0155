import ArgumentParser
import Foundation
import Launcher

struct New: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Makes a package for a new service.",
        discussion: """
            The package has a service, its image, the same as a Linux process, and tests, and \
            depends by path on this Toro. Its modules are called as the folder is, with a capital \
            letter at the beginning of each word: web-shop becomes WebShop.
            """)

    @Argument(help: "The folder to make.") var path: String

    func run() throws {
        try Toro.reporting {
            // As it is said: what `link/..` is, the kernel knows.
            let here = FileManager.default.currentDirectoryPath
            let full = path.hasPrefix("/") ? path : here + "/" + path
            let package = try NewPackage(folder: full)
            let root = try Toro.absolute(try Toro.root)
            try package.make(root: root, url: origin(of: root))
            print(
                """
                \(path): the service \(package.module)
                  cd \(ShellWords.typed(path))
                  \(ShellWords.typed(root))/toro run .
                  swift test
                """)
            return 0
        }
    }

    /// Where the checkout came from, if git knows.
    private func origin(of root: String) -> String? {
        guard let git = Command.find("git"),
            let ended = try? Command.capture(git, ["-C", root, "remote", "get-url", "origin"]),
            ended.status == 0
        else { return nil }
        return ended.output.trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
