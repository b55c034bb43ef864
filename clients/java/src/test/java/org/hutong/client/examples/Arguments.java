package org.hutong.client.examples;

/** The options of an example. */
final class Arguments {
  private Arguments() {}

  /** Returns the value after "--name", or else that of an environment variable, or else a default. */
  static String of(String[] arguments, String name, String variable, String otherwise) {
    for (int index = 0; index + 1 < arguments.length; index++) {
      if (arguments[index].equals("--" + name)) {
        return arguments[index + 1];
      }
    }
    return System.getenv().getOrDefault(variable, otherwise);
  }
}
