/** Who the shop says the visitor is. What one person wrote must never be shown to the next one at the same browser. */

/** @param {Pick<ReturnType<typeof import('./chat.js').createChat>, 'who' | 'tell' | 'forget' | 'renew'> & {store: {fresh(key: string): Promise<any>, get(key: string): any, set(key: string, value: any): void}}} chat */
export function createIdentity(chat) {
  return {
    token: () => chat.who.token || undefined,
    reset: () => chat.forget(),

    /** A visitor without a name who signs in takes along what they wrote. @param {{id: string, token: string}} who both empty for nobody */
    async is(who) {
      // Another tab may know somebody else by now, and have said so while this one did not listen.
      const there = await chat.store.fresh('person');
      const here = chat.store.get('person') ?? '';
      const other = [here, there].some((id) => id && id !== who.id);
      const gone = other && chat.forget();
      chat.who.token = who.token;
      if (other || here !== who.id) {
        chat.store.set('person', who.id);
        chat.tell({ type: 'person' });
        if (!other && !there) chat.renew();
      }
      await gone;
    },
  };
}
