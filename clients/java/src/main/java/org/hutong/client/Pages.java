package org.hutong.client;

import com.google.protobuf.Descriptors.Descriptor;
import com.google.protobuf.Message;
import java.util.Iterator;
import java.util.NoSuchElementException;

/**
 * The pages of a list (AIP-158). A page may be empty although others follow.
 *
 * <pre>{@code
 * for (ListLabsResponse page : Pages.of(ListLabsRequest.newBuilder().setRegion("220000").build(), labs::listLabs)) {
 *   ...
 * }
 * }</pre>
 */
public final class Pages {
  /** The services' limit for a page. */
  private static final int PAGE_SIZE = 500;

  /**
   * The method that lists, of a blocking stub.
   *
   * @param <Q> the request
   * @param <P> the page
   */
  @FunctionalInterface
  public interface Method<Q, P> {
    /** Returns one page. */
    P list(Q request) throws Exception;
  }

  private Pages() {}

  /**
   * Returns every page of a list. The page fields of the request are not read. Each page is asked for when the iterator
   * comes to it, and a failed call throws a {@link HutongException}.
   */
  public static <Q extends Message, P extends Message> Iterable<P> of(Q request, Method<Q, P> method) {
    return () ->
        new Iterator<>() {
          private String token = "";

          @Override
          public boolean hasNext() {
            return token != null;
          }

          @Override
          public P next() {
            if (token == null) {
              throw new NoSuchElementException();
            }
            Q asked = with(request, token);
            P page = HutongException.call(() -> method.list(asked));
            String next = (String) page.getField(page.getDescriptorForType().findFieldByName("next_page_token"));
            token = next.isEmpty() ? null : next;
            return page;
          }
        };
  }

  @SuppressWarnings("unchecked")
  private static <Q extends Message> Q with(Q request, String token) {
    Descriptor type = request.getDescriptorForType();
    return (Q)
        request.toBuilder()
            .setField(type.findFieldByName("page_size"), PAGE_SIZE)
            .setField(type.findFieldByName("page_token"), token)
            .build();
  }
}
